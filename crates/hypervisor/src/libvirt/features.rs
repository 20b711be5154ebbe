//! What a host's libvirt is, and what its `virsh` can be asked for.

use dunlin_record::{Case, Strategy, TransportKind};
use dunlin_testbed::TestbedError;

use super::settings::{LibvirtSettings, Mode};
use super::storage;
use super::virsh::{SLOW_LIMIT, Virsh};
use crate::{HypervisorError, Result};

/// The program's exit status where `env` does not find it (POSIX, `env`).
const NOT_FOUND: &str = "exit status 127";

/// What a host's libvirt is and can.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Features {
    /// Of its daemon.
    pub(super) libvirt: String,
    pub(super) qemu: String,
    /// What `virsh migrate` takes, in its own words.
    help: String,
    /// Security models that it confines VMs by.
    pub(super) security_models: Vec<String>,
    /// The host's processor, as libvirt knows it: model and vendor.
    pub(super) processor: String,
    /// What libvirt knows the host by, where it tells that.
    pub(super) host_uuid: Option<String>,
}

impl Features {
    /// Asks a host's.
    pub(super) fn ask(virsh: &Virsh) -> Result<Self> {
        let args = ["version", "--daemon"];
        let output = virsh.run(&args, SLOW_LIMIT).map_err(|error| start(virsh, error))?;
        if output.how == NOT_FOUND {
            let source =
                TestbedError::Unsupported { what: "virsh".into(), because: "it is not there".into() };
            return Err(start(virsh, source.into()));
        }
        if !output.success {
            return Err(silent(virsh.error(&args, &output)));
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let of = |name: &str| said.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let capabilities = virsh.say(&["capabilities"], SLOW_LIMIT)?;
        let (security_models, processor) = host(&capabilities).unwrap_or_default();
        Ok(Self {
            libvirt: of("Running against daemon:").unwrap_or_default(),
            qemu: of("Running hypervisor: QEMU").unwrap_or_default(),
            help: virsh.say(&["help", "migrate"], SLOW_LIMIT)?,
            security_models,
            processor,
            host_uuid: host_uuid(&capabilities),
        })
    }

    /// As in `9.0.0 with QEMU 10.0.2`.
    pub(super) fn version(&self) -> String {
        format!("{} with QEMU {}", self.libvirt, self.qemu)
    }

    fn takes(&self, option: &str) -> bool {
        self.help.split_whitespace().any(|word| word == option)
    }

    /// Refuses what this libvirt cannot do of a case.
    pub(super) fn check(&self, case: &Case, settings: &LibvirtSettings) -> Result<()> {
        let no = |what: &str, because: String| {
            Err(HypervisorError::Unsupported {
                what: what.into(),
                because: format!("{because} (libvirt {})", self.libvirt),
            })
        };
        match case.transport.kind {
            TransportKind::Tcp => {}
            TransportKind::Tls if self.takes("--tls") => {}
            TransportKind::Tls => return no("TLS", "its virsh migrate has no --tls".into()),
            TransportKind::Mptcp => return no("MPTCP", "libvirt makes its own connections, by TCP".into()),
            TransportKind::Unix => {
                return no(
                    "a migration through a Unix socket",
                    "its daemons are reached over the network".into(),
                );
            }
        }
        if case.transport.channels.is_some() && !self.takes("--parallel") {
            return no("several channels", "its virsh migrate has no --parallel".into());
        }
        if let Some(codec) = case.transport.compression
            && !self.takes(&format!("--comp-{}-level", codec.name()))
        {
            return no("compressed channels", "they need libvirt 9.4".into());
        }
        storage::check(case, &self.libvirt)?;
        if matches!(case.strategy, Strategy::Offline(_)) {
            return no("offline", "a VM's state in a file of its own is only read by libvirt itself".into());
        }
        let needs = [
            (case.strategy.post_copy().is_some(), "--postcopy", "post-copy"),
            (settings.auto_converge, "--auto-converge", "libvirt.auto_converge"),
            (
                settings.post_copy_bandwidth_mib_s > 0,
                "--postcopy-bandwidth",
                "libvirt.post_copy_bandwidth_mib_s",
            ),
            (settings.xbzrle, "--comp-methods", "libvirt.xbzrle"),
        ];
        let lacking = needs.into_iter().find(|(is_asked, option, _)| *is_asked && !self.takes(option));
        if let Some((_, option, what)) = lacking {
            return no(what, format!("its virsh migrate has no {option}"));
        }
        // libvirt's own refusals (qemuMigrationSrcIsSupported…), told before anything is touched.
        let tunnelled = [
            (case.transport.channels.is_some(), "several channels"),
            (case.transport.kind == TransportKind::Tls, "TLS of its own"),
            (case.strategy.post_copy().is_some(), "post-copy"),
        ];
        if settings.tunnelled
            && let Some((_, what)) = tunnelled.into_iter().find(|(is_asked, _)| *is_asked)
        {
            return no(
                &format!("{what}, tunnelled"),
                "the memory goes through the daemons' one connection".into(),
            );
        }
        if settings.xbzrle && case.transport.channels.is_some() {
            return no("libvirt.xbzrle with several channels", "QEMU does one or the other".into());
        }
        if settings.mode == Mode::Direct && case.strategy.post_copy().is_some() {
            return no(
                "direct post-copy",
                "a client that dies in it would leave a VM in two halves: take mode = \"peer-to-peer\""
                    .into(),
            );
        }
        if case.vm.cpu.as_ref().is_some_and(|cpu| cpu.contains(',')) {
            return no("vm.cpu with features", "libvirt takes the name of a model".into());
        }
        Ok(())
    }
}

fn start(virsh: &Virsh, source: HypervisorError) -> HypervisorError {
    match source {
        HypervisorError::Testbed(source) => HypervisorError::Start {
            program: "virsh".into(),
            host: virsh.host.id().clone(),
            mend: "install it there (on Debian: apt-get install libvirt-clients libvirt-daemon-system)"
                .into(),
            source: Box::new(source),
        },
        other => other,
    }
}

/// A daemon that does not answer when it is first spoken to, in an administrator's words. That is no refusal.
fn silent(error: HypervisorError) -> HypervisorError {
    match error {
        HypervisorError::Monitor { host, source, .. } => HypervisorError::Start {
            program: "work with libvirt".into(),
            mend: "start it there: systemctl start libvirtd, or virtqemud".into(),
            source: Box::new(TestbedError::Mismatch {
                what: format!("its daemon does not answer (virsh version): {source}"),
            }),
            host,
        },
        other => other,
    }
}

/// The security models and the processor in `virsh capabilities`.
fn host(capabilities: &str) -> Option<(Vec<String>, String)> {
    let document = roxmltree::Document::parse(capabilities).ok()?;
    let host = document.root_element().children().find(|node| node.has_tag_name("host"))?;
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        node.children()
            .find(|child| child.has_tag_name(name))
            .and_then(|child| child.text().map(str::to_owned))
    };
    let models = host.children().filter(|node| node.has_tag_name("secmodel"));
    let models = models.filter_map(|node| child(node, "model")).filter(|model| model != "none").collect();
    let cpu = host.children().find(|node| node.has_tag_name("cpu"));
    let part = |name| cpu.and_then(|cpu| child(cpu, name)).unwrap_or_default();
    Some((models, format!("{} {}", part("vendor"), part("model")).trim().to_owned()))
}

/// What `virsh capabilities` says that its host is known by.
pub(super) fn host_uuid(capabilities: &str) -> Option<String> {
    let document = roxmltree::Document::parse(capabilities).ok()?;
    let host = document.root_element().children().find(|node| node.has_tag_name("host"))?;
    let uuid = host.children().find(|node| node.has_tag_name("uuid"))?.text()?.trim();
    (!uuid.is_empty()).then(|| uuid.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use dunlin_record::{ChannelCompression, Strategy, Transport};

    use super::*;

    fn libvirt_9() -> Features {
        let help = "--p2p --tls --parallel --parallel-connections <number> --postcopy --auto-converge --comp-methods <string> \
                    --comp-mt-level <number> --postcopy-bandwidth";
        Features { libvirt: "9.0.0".into(), help: help.into(), ..Features::default() }
    }

    fn refusal(features: &Features, change: impl FnOnce(&mut Case, &mut LibvirtSettings)) -> String {
        let mut case = Case { strategy: Strategy::PreCopy, ..dunlin_record::samples::case() };
        let mut settings = LibvirtSettings::default();
        change(&mut case, &mut settings);
        features.check(&case, &settings).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_this_libvirt_cannot_do_is_refused_with_its_version() {
        assert_eq!(refusal(&libvirt_9(), |_, _| ()), "");
        let zstd = |case: &mut Case, _: &mut LibvirtSettings| {
            case.transport = Transport {
                channels: Some(2),
                compression: Some(ChannelCompression::Zstd),
                ..Transport::default()
            };
        };
        let said = refusal(&libvirt_9(), zstd);
        assert_eq!(said, "compressed channels is not supported: they need libvirt 9.4 (libvirt 9.0.0)");
        let newer = Features { help: libvirt_9().help + " --comp-zstd-level", ..libvirt_9() };
        assert_eq!(refusal(&newer, zstd), "");
        let mptcp = |case: &mut Case, _: &mut LibvirtSettings| case.transport.kind = TransportKind::Mptcp;
        assert!(refusal(&libvirt_9(), mptcp).contains("MPTCP"));
        let direct = |case: &mut Case, settings: &mut LibvirtSettings| {
            case.strategy = Strategy::PostCopy { preempt: true };
            settings.mode = Mode::Direct;
        };
        assert!(refusal(&libvirt_9(), direct).contains("two halves"));
        let old = Features::default();
        let post_copy =
            |case: &mut Case, _: &mut LibvirtSettings| case.strategy = Strategy::PostCopy { preempt: true };
        assert!(refusal(&old, post_copy).contains("--postcopy"));
        let tunnelled = |case: &mut Case, settings: &mut LibvirtSettings| {
            settings.tunnelled = true;
            case.transport.channels = Some(2);
        };
        assert!(refusal(&libvirt_9(), tunnelled).contains("tunnelled"));
    }

    #[test]
    fn a_daemon_that_is_not_there_is_told_with_what_starts_it() {
        let lost = HypervisorError::Monitor {
            vm: dunlin_record::VmId::new("libvirt"),
            host: dunlin_record::HostId::new("host-b"),
            doing: "it was asked (virsh version)".into(),
            source: std::io::Error::other("failed to connect to the hypervisor"),
        };
        let told = silent(lost);
        assert!(!told.is_refusal());
        let words = "cannot start work with libvirt on host-b: its daemon does not answer (virsh version): failed to \
                     connect to the hypervisor";
        assert_eq!(dunlin_record::in_one_line(&told), words);
        assert!(
            matches!(told, HypervisorError::Start { mend, .. } if mend.contains("systemctl start libvirtd"))
        );
    }

    #[test]
    fn a_hosts_processor_and_security_models_are_read() {
        let said = "<capabilities><host><cpu><arch>x86_64</arch><model>Broadwell</model><vendor>Intel</vendor></cpu>\
                    <secmodel><model>none</model></secmodel><secmodel><model>dac</model></secmodel></host></capabilities>";
        assert_eq!(host(said), Some((vec!["dac".into()], "Intel Broadwell".into())));
        assert_eq!(host("nothing"), None);
        assert_eq!(host_uuid(said), None);
        let told =
            "<capabilities><host><uuid>AB-1</uuid><cpu/></host><guest><uuid>x</uuid></guest></capabilities>";
        assert_eq!(host_uuid(told).as_deref(), Some("ab-1"));
        assert_eq!(host_uuid("<capabilities><host><uuid/></host></capabilities>"), None);
    }
}
