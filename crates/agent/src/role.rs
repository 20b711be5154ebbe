//! What the agent is in its guest: its init, or a program in somebody else's; and what follows of that.

use std::path::PathBuf;

use dunlin_agent_proto::{AgentKind, Ask};

use crate::folder::Folder;
use crate::storage;

/// What is left free of a disk that is not ours.
const DISK_RESERVE_BYTES: u64 = 256 << 20;

/// What the agent is.
#[derive(Debug)]
pub(crate) enum Role {
    /// The guest is ours.
    Init,
    /// The guest is not ours: its system is left as it is. Files go into this folder.
    Program(Folder),
}

/// Where workloads have their files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    /// Whether a file's name stays when its workload has ended. One without a name goes with the process, however it ends.
    pub(crate) keep_names: bool,
    /// What must stay free beside them, if that is looked at.
    pub(crate) reserve_bytes: Option<u64>,
}

impl Role {
    /// The same in the protocol's words.
    pub(crate) fn kind(&self) -> AgentKind {
        match self {
            Self::Init => AgentKind::Init,
            Self::Program(_) => AgentKind::Program,
        }
    }

    /// Why this is not done here; `None` if it is.
    pub(crate) fn refusal(&self, ask: &Ask) -> Option<String> {
        if matches!(self, Self::Init) {
            return None;
        }
        let what = match ask {
            Ask::SetClock { .. } => "set the clock",
            Ask::AddEntropy(_) => "add entropy",
            Ask::ConfigureNetwork(_) => "configure the network",
            Ask::MountDisk => "mount a disk",
            Ask::SwapOn => "swap to a disk",
            Ask::ShutDown { .. } => "shut the guest down",
            Ask::CheckSeal { .. } => "look for a seal",
            Ask::Identify
            | Ask::Ping(_)
            | Ask::StartWorkload { .. }
            | Ask::StopWorkload { .. }
            | Ask::QueryMemory
            | Ask::QueryCpu
            | Ask::QueryDisk
            | Ask::QueryClocks => return None,
        };
        Some(format!(
            "{what}: this guest is not Dunlin's: the agent runs in it as a program and leaves its system alone"
        ))
    }

    /// Where the file system is mounted whose use is told.
    pub(crate) fn disk(&self) -> &'static str {
        match self {
            Self::Init => storage::DISK,
            Self::Program(_) => "/",
        }
    }

    /// Where workloads have their files.
    pub(crate) fn files(&self) -> Files {
        match self {
            Self::Init => Files::of_init(),
            Self::Program(folder) => Files {
                folder: folder.path().to_owned(),
                keep_names: false,
                reserve_bytes: Some(DISK_RESERVE_BYTES),
            },
        }
    }
}

impl Files {
    /// On the disk that is there for them.
    pub(crate) fn of_init() -> Self {
        Self { folder: storage::DISK.into(), keep_names: true, reserve_bytes: None }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dunlin_agent_proto::{Network, Workload};

    use super::*;

    #[test]
    fn a_program_refuses_what_would_change_the_system_and_an_init_refuses_nothing() {
        let network = Network { address: Ipv4Addr::LOCALHOST, prefix: 8, neighbours: Vec::new() };
        let forbidden = [
            (Ask::SetClock { epoch_ns: 0 }, "set the clock: "),
            (Ask::AddEntropy(vec![1]), "add entropy: "),
            (Ask::ConfigureNetwork(network), "configure the network: "),
            (Ask::MountDisk, "mount a disk: "),
            (Ask::SwapOn, "swap to a disk: "),
            (Ask::ShutDown { seal: None }, "shut the guest down: "),
            (Ask::CheckSeal { seal: 1 }, "look for a seal: "),
        ];
        let program = Role::Program(Folder::make(&std::env::temp_dir()).unwrap());
        for (ask, begin) in forbidden {
            let said = program.refusal(&ask).unwrap();
            assert!(said.starts_with(begin) && said.contains("this guest is not Dunlin's: "), "{said}");
            assert_eq!(Role::Init.refusal(&ask), None);
        }
        let allowed = [
            Ask::Identify,
            Ask::Ping(1),
            Ask::QueryMemory,
            Ask::QueryCpu,
            Ask::QueryClocks,
            Ask::QueryDisk,
            Ask::StartWorkload { job: 0, workload: Workload::Clock },
            Ask::StopWorkload { job: 0 },
        ];
        for ask in allowed {
            assert_eq!(program.refusal(&ask), None, "{ask:?}");
        }
        assert_eq!((program.kind(), program.disk()), (AgentKind::Program, "/"));
    }
}
