//! What a bench asks of an agent, in the record's words.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddrV4;
use std::time::Duration;

use dunlin_agent_proto::{Ask, GuestClocks, GuestCpu, GuestDisk, GuestMemory, Network, Ready, Reply};
use dunlin_clock::epoch_ns;
use dunlin_record::{Achieved, Workload};

use crate::translate::{in_the_agents_words, in_the_records_words};
use crate::{AgentClient, GuestError, Result};

const ENTROPY_BYTES: usize = 64;

/// Requests by name; each waits `limit` at most for its reply.
///
/// The errors are those of [`AgentClient::request`].
impl AgentClient {
    /// Waits for the agent to say who it is: the guest is up then.
    ///
    /// # Errors
    /// As of a request.
    pub fn identify(&self, limit: Duration) -> Result<Ready> {
        match self.request(Ask::Identify, limit)? {
            Reply::Ready(ready) => Ok(ready),
            reply => Err(unexpected("who are you", &reply)),
        }
    }

    /// There and back.
    ///
    /// # Errors
    /// As of a request.
    pub fn ping(&self, number: u64, limit: Duration) -> Result<()> {
        match self.request(Ask::Ping(number), limit)? {
            Reply::Pong(answered) if answered == number => Ok(()),
            reply => Err(unexpected("ping", &reply)),
        }
    }

    /// Brings a guest out of a template into the present: the clock is set and new entropy stirred in, so that two
    /// guests of one template do not draw the same random numbers.
    ///
    /// # Errors
    /// As of a request, or where this machine gives no entropy.
    pub fn refresh(&self, limit: Duration) -> Result<()> {
        let mut entropy = vec![0; ENTROPY_BYTES];
        let source = "/dev/urandom";
        let outcome = File::open(source).and_then(|mut file| file.read_exact(&mut entropy));
        outcome.map_err(GuestError::io("read", source))?;
        self.done(Ask::SetClock { epoch_ns: epoch_ns() }, limit)?;
        self.done(Ask::AddEntropy(entropy), limit)
    }

    /// Gives the guest this address instead of the one it has, and neighbours it need not ask for.
    ///
    /// # Errors
    /// As of a request.
    pub fn configure_network(&self, network: Network, limit: Duration) -> Result<()> {
        self.done(Ask::ConfigureNetwork(network), limit)
    }

    /// Has one of our guests let go of its disks and power itself off, a moment after it has answered. Workloads that write
    /// to its disk had better be stopped before. A number leaves a seal on its disk, which is then surely there.
    ///
    /// # Errors
    /// As of a request; refused where the seal finds no room.
    pub fn shut_down(&self, seal: Option<u64>, limit: Duration) -> Result<()> {
        self.done(Ask::ShutDown { seal }, limit)
    }

    /// Looks whether the guest's disk is the one that was left with this seal.
    ///
    /// # Errors
    /// As of a request; refused where it is not.
    pub fn check_seal(&self, seal: u64, limit: Duration) -> Result<()> {
        self.done(Ask::CheckSeal { seal }, limit)
    }

    /// Starts a workload, a single one, beside those that run; returns when it runs. `job` is its number from now on;
    /// `peer` is where the other end of a stream listens.
    ///
    /// # Errors
    /// As of a request; refused where one of this number runs already, a dial is out of its range, the guest has too
    /// little memory, or the other end is not there.
    pub fn start_workload(
        &self,
        job: u32,
        workload: &Workload,
        peer: Option<SocketAddrV4>,
        limit: Duration,
    ) -> Result<()> {
        let workload = in_the_agents_words(workload, peer)?;
        match self.request(Ask::StartWorkload { job, workload }, limit)? {
            Reply::WorkloadStarted => Ok(()),
            reply => Err(unexpected("start the workload", &reply)),
        }
    }

    /// Stops a workload and says what it did.
    ///
    /// # Errors
    /// As of a request; refused where there is none of this number, with its last words where it died.
    pub fn stop_workload(&self, job: u32, limit: Duration) -> Result<Achieved> {
        match self.request(Ask::StopWorkload { job }, limit)? {
            Reply::WorkloadAchieved(achieved) => Ok(in_the_records_words(&achieved)),
            reply => Err(unexpected("stop the workload", &reply)),
        }
    }

    /// How the guest's memory is used.
    ///
    /// # Errors
    /// As of a request.
    pub fn memory(&self, limit: Duration) -> Result<GuestMemory> {
        match self.request(Ask::QueryMemory, limit)? {
            Reply::Memory(memory) => Ok(memory),
            reply => Err(unexpected("how is memory used", &reply)),
        }
    }

    /// What the guest's CPUs have done since its boot.
    ///
    /// # Errors
    /// As of a request.
    pub fn cpu(&self, limit: Duration) -> Result<GuestCpu> {
        match self.request(Ask::QueryCpu, limit)? {
            Reply::Cpu(cpu) => Ok(cpu),
            reply => Err(unexpected("what have the CPUs done", &reply)),
        }
    }

    /// What the guest's clocks say.
    ///
    /// # Errors
    /// As of a request.
    pub fn clocks(&self, limit: Duration) -> Result<GuestClocks> {
        match self.request(Ask::QueryClocks, limit)? {
            Reply::Clocks(clocks) => Ok(clocks),
            reply => Err(unexpected("what do the clocks say", &reply)),
        }
    }

    /// Has the guest mount the file system of its disk.
    ///
    /// # Errors
    /// As of a request; refused where there is no such disk or file system.
    pub fn mount_disk(&self, limit: Duration) -> Result<()> {
        self.done(Ask::MountDisk, limit)
    }

    /// Has the guest swap to the disk meant for it.
    ///
    /// # Errors
    /// As of a request; refused where there is no such disk.
    pub fn swap_on(&self, limit: Duration) -> Result<()> {
        self.done(Ask::SwapOn, limit)
    }

    /// How the guest's mounted disk is used.
    ///
    /// # Errors
    /// As of a request.
    pub fn disk(&self, limit: Duration) -> Result<GuestDisk> {
        match self.request(Ask::QueryDisk, limit)? {
            Reply::Disk(disk) => Ok(disk),
            reply => Err(unexpected("how is the disk used", &reply)),
        }
    }

    fn done(&self, ask: Ask, limit: Duration) -> Result<()> {
        match self.request(ask, limit)? {
            Reply::Done => Ok(()),
            reply => Err(unexpected("do this", &reply)),
        }
    }
}

fn unexpected(asked: &str, reply: &Reply) -> GuestError {
    GuestError::Unexpected { asked: asked.into(), reply: format!("{reply:?}") }
}
