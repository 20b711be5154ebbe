//! The words of `virsh migrate` for one migration.

use dunlin_record::{ChannelCompression, Strategy, Transport, TransportKind};

use super::settings::{CopyStorage, LibvirtSettings, Mode};
use crate::Journey;

/// What a migration is to be.
pub(super) struct Migration<'a> {
    pub(super) settings: &'a LibvirtSettings,
    pub(super) strategy: &'a Strategy,
    pub(super) transport: &'a Transport,
    pub(super) journey: Journey,
    pub(super) uuid: &'a str,
    /// How the source's daemon finds the destination's.
    pub(super) peer: &'a str,
    /// The destination's address on the migration network, where it is known.
    pub(super) address: Option<std::net::Ipv4Addr>,
    /// Whether the VM is defined for good at the source.
    pub(super) is_persistent: bool,
    /// A file at the source with the VM's XML as the destination is to have it.
    pub(super) xml: Option<&'a str>,
    /// Which disks are copied along.
    pub(super) copy_storage: CopyStorage,
    /// Whether libvirt's doubts about disks are answered: they were proved to be the same on both hosts.
    pub(super) is_unsafe: bool,
}

impl Migration<'_> {
    /// The words after `virsh`.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> =
            ["migrate", "--domain", self.uuid, "--desturi", self.peer].map(str::to_owned).into();
        let mut flag = |is_set: bool, name: &str| words.extend(is_set.then(|| name.to_owned()));
        let settings = self.settings;
        let is_suspended = *self.strategy == (Strategy::Suspend { after_passes: None });
        // A VM that is stopped before it moves is not moved live.
        flag(!is_suspended, "--live");
        flag(settings.mode == Mode::PeerToPeer, "--p2p");
        flag(settings.tunnelled, "--tunnelled");
        // It arrives stopped, and is let run by us: otherwise libvirt would resume what we have stopped in between.
        flag(matches!(self.strategy, Strategy::Suspend { after_passes: Some(_) }), "--suspend");
        flag(self.strategy.post_copy().is_some(), "--postcopy");
        flag(self.is_defined_there(), "--persistent");
        flag(self.is_undefined_here(), "--undefinesource");
        flag(settings.auto_converge, "--auto-converge");
        flag(self.transport.channels.is_some(), "--parallel");
        flag(self.transport.kind == TransportKind::Tls, "--tls");
        flag(self.copy_storage == CopyStorage::All, "--copy-storage-all");
        flag(self.copy_storage == CopyStorage::Inc, "--copy-storage-inc");
        flag(self.is_unsafe, "--unsafe");
        flag(!self.methods().is_empty(), "--compressed");
        self.values(&mut words);
        words
    }

    fn values(&self, words: &mut Vec<String>) {
        let settings = self.settings;
        let mut value = |name: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        };
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let cap = |mib_s: u64| number(Some(mib_s).filter(|mib_s| *mib_s > 0));
        // Tunnelled, it goes where the daemons' connection goes.
        let address = self.address.filter(|_| !settings.tunnelled);
        value("--migrateuri", address.map(|address| format!("tcp://{address}")));
        let listening = settings.listen_address.clone();
        value("--listen-address", listening.or_else(|| address.map(|address| address.to_string())));
        value("--bandwidth", cap(settings.bandwidth_mib_s));
        value("--postcopy-bandwidth", cap(settings.post_copy_bandwidth_mib_s));
        value("--auto-converge-initial", number(settings.auto_converge_initial));
        value("--auto-converge-increment", number(settings.auto_converge_increment));
        value("--parallel-connections", self.transport.channels.map(|channels| channels.to_string()));
        let methods = self.methods();
        if !methods.is_empty() {
            value("--comp-methods", Some(methods.join(",")));
        }
        value("--comp-xbzrle-cache", number(settings.xbzrle_cache_mib.map(|mib| mib << 20)));
        value("--xml", self.xml.map(str::to_owned));
    }

    fn methods(&self) -> Vec<&'static str> {
        let mut methods = Vec::new();
        if self.settings.xbzrle {
            methods.push("xbzrle");
        }
        methods.extend(self.transport.compression.map(ChannelCompression::name));
        methods
    }

    /// Whether the destination gets the VM's definition. On an excursion it remains where it was.
    pub(super) fn is_defined_there(&self) -> bool {
        match self.journey {
            Journey::Excursion => self.settings.persistent.unwrap_or(false),
            Journey::Home => false,
            Journey::ForGood => self.settings.persistent.unwrap_or(self.is_persistent),
        }
    }

    /// Whether the source loses it: where the VM stays there, and on the way back, where it got one.
    fn is_undefined_here(&self) -> bool {
        match self.journey {
            Journey::Excursion => false,
            Journey::Home => self.settings.persistent.unwrap_or(false),
            Journey::ForGood => {
                self.is_persistent && self.settings.undefine_source.unwrap_or(self.is_defined_there())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(
        change: impl FnOnce(&mut LibvirtSettings),
        strategy: &Strategy,
        transport: &Transport,
        journey: Journey,
    ) -> String {
        let mut settings = LibvirtSettings::default();
        change(&mut settings);
        let migration = Migration {
            settings: &settings,
            strategy,
            transport,
            journey,
            uuid: "U",
            peer: "qemu+ssh://b/system",
            address: Some([10, 0, 0, 2].into()),
            is_persistent: true,
            xml: None,
            copy_storage: settings.copy_storage,
            is_unsafe: false,
        };
        migration.words().join(" ")
    }

    const HEAD: &str = "migrate --domain U --desturi qemu+ssh://b/system";

    #[test]
    fn nothing_asked_is_peer_to_peer_and_leaves_the_definition_where_it_is() {
        let said = words(|_| (), &Strategy::PreCopy, &Transport::default(), Journey::Excursion);
        assert_eq!(
            said,
            format!("{HEAD} --live --p2p --migrateuri tcp://10.0.0.2 --listen-address 10.0.0.2")
        );
        let home = words(|_| (), &Strategy::PreCopy, &Transport::default(), Journey::Home);
        assert_eq!(home, said);
        let stays = words(|_| (), &Strategy::PreCopy, &Transport::default(), Journey::ForGood);
        assert!(stays.contains("--persistent --undefinesource"), "{stays}");
    }

    #[test]
    fn what_was_defined_there_for_the_excursion_is_not_left_there() {
        let defined = |settings: &mut LibvirtSettings| settings.persistent = Some(true);
        let there = words(defined, &Strategy::PreCopy, &Transport::default(), Journey::Excursion);
        assert!(there.contains("--persistent") && !there.contains("--undefinesource"), "{there}");
        let home = words(defined, &Strategy::PreCopy, &Transport::default(), Journey::Home);
        assert!(!home.contains("--persistent") && home.contains("--undefinesource"), "{home}");
    }

    #[test]
    fn each_strategy_has_its_words() {
        let of = |strategy| words(|_| (), &strategy, &Transport::default(), Journey::Excursion);
        assert!(of(Strategy::PostCopy { preempt: true }).contains("--live --p2p --postcopy "));
        let suspended = of(Strategy::Suspend { after_passes: None });
        assert!(!suspended.contains("--live") && !suspended.contains("--suspend"), "{suspended}");
        let late = of(Strategy::Suspend { after_passes: Some(1) });
        assert!(late.contains("--live") && late.contains("--suspend"), "{late}");
    }

    #[test]
    fn everything_asked_is_said() {
        let all = |settings: &mut LibvirtSettings| {
            settings.auto_converge = true;
            settings.auto_converge_initial = Some(30);
            settings.xbzrle = true;
            settings.xbzrle_cache_mib = Some(64);
            settings.bandwidth_mib_s = 20;
            settings.copy_storage = CopyStorage::Inc;
            settings.listen_address = Some("10.0.0.9".into());
        };
        let transport = Transport {
            kind: TransportKind::Tls,
            channels: Some(4),
            compression: Some(ChannelCompression::Zstd),
        };
        let said = words(all, &Strategy::PreCopy, &transport, Journey::Excursion);
        for part in [
            "--auto-converge ",
            "--auto-converge-initial 30",
            "--parallel ",
            "--parallel-connections 4",
            "--tls",
            "--comp-methods xbzrle,zstd",
            "--comp-xbzrle-cache 67108864",
            "--bandwidth 20",
            "--copy-storage-inc",
            "--listen-address 10.0.0.9",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let tunnelled = words(
            |settings| settings.tunnelled = true,
            &Strategy::PreCopy,
            &Transport::default(),
            Journey::Home,
        );
        assert!(
            tunnelled.contains("--tunnelled")
                && !tunnelled.contains("--migrateuri")
                && !tunnelled.contains("--listen"),
            "{tunnelled}"
        );
    }
}
