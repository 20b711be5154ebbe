//! The keys of a scenario and what each takes. A test holds this list against the record's types.

use dunlin_hypervisor::{Driver, Registry, SettingKey, SettingKind};
use dunlin_record::Percent;
use dunlin_traffic::MESSAGE_BYTES_MAX;

use crate::toml_file::{Leaf, Node, Value, one_of};

/// A key and what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
}

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    /// A table with these keys.
    Table(&'static [Key]),
    /// The same, or `true` for all its defaults, or `false` for none of it.
    Switch(&'static [Key]),
    /// A driver's table.
    Driver(&'static [SettingKey]),
    /// A table whose `kind` says which other keys it has; `false` for none where it is optional.
    Tagged { variants: &'static [Variant], optional: bool },
    /// A table with any keys, each of which takes this.
    Map(&'static Takes),
    /// A whole number of something.
    Whole { of: &'static str, min: i64, max: i64 },
    /// A number of something. `above` excludes the lower bound itself.
    Number { of: &'static str, min: f64, above: bool, max: f64 },
    /// The same, or one word.
    NumberOr { word: &'static str, of: &'static str, max: f64 },
    /// A number, from 0 on.
    FromZero,
    /// A share, as in `"5%"`.
    Percent,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Text that is not empty.
    Text,
    /// Text that may be empty.
    AnyText,
    /// Yes or no.
    Flag,
    /// A list of texts: by nature, so that only a list of such lists multiplies.
    Texts,
    /// A list of which each entry takes this: by nature, so that it does not multiply.
    Each(&'static Takes),
    /// Anything without parts.
    Scalar,
}

/// One of the kinds of a tagged table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    pub(super) kind: &'static str,
    pub(super) keys: &'static [Key],
    pub(super) required: &'static [&'static str],
}

const fn key(name: &'static str, takes: Takes) -> Key {
    Key { name, takes }
}

const fn whole(of: &'static str, min: i64, max: i64) -> Takes {
    Takes::Whole { of, min, max }
}

const fn number(of: &'static str, min: f64, max: f64) -> Takes {
    Takes::Number { of, min, above: false, max }
}

const fn above_0(of: &'static str, max: f64) -> Takes {
    Takes::Number { of, min: 0.0, above: true, max }
}

/// A TiB, in MiB: more than any guest of a bench.
const MEMORY_MAX_MIB: i64 = 1 << 20;
/// A TiB too: about what a sparse file can be on any file system.
const DISK_MAX_MIB: i64 = 1 << 20;
const DAY_S: f64 = 86_400.0;
const HOUR_S: f64 = 3_600.0;
const TRIALS_MAX: i64 = 10_000;

/// What holds for a run as a whole, only at the top of the file.
pub(super) const RUN: &[Key] =
    &[key("shuffle", Takes::Flag), key("seed", whole("(32 bits)", 0, u32::MAX as i64))];

/// The key that names a case's driver.
pub(super) const DRIVER: &str = "driver";

/// What may stand in a file, given the drivers there are.
pub(super) struct Grammar<'r> {
    registry: &'r Registry,
    settings: Vec<Key>,
}

impl<'r> Grammar<'r> {
    pub(super) fn new(registry: &'r Registry) -> Self {
        let tables = registry.all().map(|driver| key(driver.name(), Takes::Driver(driver.keys())));
        let settings =
            [key("vm", Takes::Table(VM))].into_iter().chain(tables).chain(SETTINGS.iter().copied());
        Self { registry, settings: settings.collect() }
    }

    /// What may stand at the top of the file (as defaults) and in each case.
    pub(super) fn settings(&self) -> &[Key] {
        &self.settings
    }

    /// What one of those takes.
    pub(super) fn takes(&self, name: &str) -> Option<Takes> {
        self.settings.iter().find(|key| key.name == name).map(|key| key.takes)
    }

    /// The drivers there are, the one first that is meant where none is named.
    pub(super) fn drivers(&self) -> impl Iterator<Item = &'r dyn Driver> {
        self.registry.all()
    }
}

/// What stands there besides the VM and the drivers' tables.
const SETTINGS: &[Key] = &[
    key(DRIVER, Takes::Text),
    key("link", Takes::Table(LINKS)),
    key("storage", Takes::Table(STORAGE)),
    key("switch", Takes::Table(SWITCH)),
    key("probes", Takes::Table(PROBES)),
    key("workload", Takes::Tagged { variants: WORKLOADS, optional: true }),
    key("strategy", Takes::Tagged { variants: STRATEGIES, optional: false }),
    key("capture", Takes::Table(CAPTURE)),
    key("transport", Takes::Tagged { variants: TRANSPORTS, optional: false }),
    key("trials", Takes::Table(TRIALS)),
];

const VM: &[Key] = &[
    key("memory_mib", whole("MiB", 64, MEMORY_MAX_MIB)),
    key("vcpus", whole("vCPUs", 1, 255)),
    key("count", whole("VMs", 1, 64)),
    key("machine", Takes::Text),
    key("cpu", Takes::Text),
    key("kernel", Takes::Text),
    key("modules", Takes::Text),
    key("kernel_args", Takes::AnyText),
    key("fresh", Takes::Flag),
    key("paused", Takes::Flag),
    key("disk", Takes::Table(DISK)),
    key("swap_mib", whole("MiB", 1, DISK_MAX_MIB)),
    key("shared_storage", Takes::Flag),
];

/// At least the file system's own with some room.
const DISK: &[Key] = &[
    key("size_mib", whole("MiB", 32, DISK_MAX_MIB)),
    key("format", Takes::Word(&["raw", "qcow2"])),
    key("used_mib", whole("MiB", 1, DISK_MAX_MIB)),
    COMPRESSIBILITY,
    key("image", Takes::Text),
    key("backing", Takes::Flag),
];

const STORAGE: &[Key] = &[
    key("server", Takes::Word(&["folder", "nfs", "iscsi", "nbd"])),
    key("blocks", Takes::Word(&["allocated", "overlay", "all"])),
    key("writes", Takes::Word(&["when-due", "background", "in-step"])),
    key("two_steps", Takes::Flag),
    key("rate_mib_s", above_0("MiB/s", 1e6)),
    key("pause_after_s", above_0("seconds", DAY_S)),
    key("compare", Takes::Flag),
    key("fault", Takes::Table(STORAGE_FAULT)),
];

const STORAGE_FAULT: &[Key] = &[
    key("kind", Takes::Word(&["kill", "freeze"])),
    key("after_s", number("seconds", 0.0, DAY_S)),
    key("for_s", above_0("seconds", DAY_S)),
];

const LINKS: &[Key] = &[
    key("migration", Takes::Table(LINK)),
    key("service", Takes::Table(LINK)),
    key("storage", Takes::Table(LINK)),
];

const LINK: &[Key] = &[
    key("rate_mbit", Takes::NumberOr { word: "none", of: "Mbit/s", max: 1e6 }),
    key("delay_ms", number("milliseconds", 0.0, 10_000.0)),
];

const SWITCH: &[Key] = &[key("snmp", Takes::Switch(SNMP))];

const SNMP: &[Key] = &[
    key("address", Takes::Text),
    key("port", whole("(a UDP port)", 1, 65_535)),
    key("community_env", Takes::Text),
    key("user", Takes::Text),
    key("auth", Takes::Word(&["sha1", "sha256"])),
    key("auth_password_env", Takes::Text),
    key("privacy", Takes::Word(&["aes128"])),
    key("privacy_password_env", Takes::Text),
    key("ports", Takes::Map(&Takes::Text)),
    key("interval_ms", number("milliseconds", 1.0, 60_000.0)),
    key("timeout_ms", number("milliseconds", 1.0, 60_000.0)),
];

const PROBES: &[Key] = &[
    key("icmp", Takes::Switch(PROBE)),
    key("udp", Takes::Switch(PROBE)),
    key("http", Takes::Switch(HTTP_PROBE)),
    key("tcp_rr", Takes::Switch(REQUEST_RESPONSE)),
    key("tcp_stream", Takes::Switch(STREAM_PROBE)),
    key("hosts_tcp_rr", Takes::Switch(REQUEST_RESPONSE)),
    key("hosts_tcp_stream", Takes::Switch(STREAM_PROBE)),
];

const PROBE: &[Key] = &[key("interval_ms", number("milliseconds", 0.1, 10_000.0))];

const CAPTURE: &[Key] = &[
    key("migration", Takes::Flag),
    key("service", Takes::Flag),
    key("snap_bytes", whole("bytes", 64, 65_535)),
];

const HTTP_PROBE: &[Key] =
    &[key("interval_ms", number("milliseconds", 1.0, 10_000.0)), key("path", Takes::Text)];

const REQUEST_RESPONSE: &[Key] = &[
    key("request_bytes", MESSAGE),
    key("response_bytes", MESSAGE),
    key("send_buffer_bytes", SOCKET_BUFFER),
    key("receive_buffer_bytes", SOCKET_BUFFER),
];

const STREAM_PROBE: &[Key] = &[
    key("reverse", Takes::Flag),
    key("message_bytes", MESSAGE),
    key("send_buffer_bytes", SOCKET_BUFFER),
    key("receive_buffer_bytes", SOCKET_BUFFER),
];

const MESSAGE: Takes = whole("bytes", 1, MESSAGE_BYTES_MAX as i64);
/// From about what Linux keeps at least (socket(7)) to a GiB.
const SOCKET_BUFFER: Takes = whole("bytes", 2_048, 1 << 30);

const TRIALS: &[Key] = &[
    key("count", whole("trials", 1, TRIALS_MAX)),
    key("until", Takes::Percent),
    key("min", whole("trials", 1, TRIALS_MAX)),
    key("max", whole("trials", 1, TRIALS_MAX)),
    key("paired", Takes::Flag),
    key("limit_s", above_0("seconds", DAY_S)),
    key("baseline_s", number("seconds", 0.0, HOUR_S)),
    key("settle_s", number("seconds", 0.0, HOUR_S)),
];

/// Each kind of work, and several of them at once.
const WORKLOADS: &[Variant] = &{
    let mut all = [SEVERAL; WORK.len() + 1];
    let mut index = 0;
    while index < WORK.len() {
        all[index] = WORK[index];
        index += 1;
    }
    all
};

const SEVERAL: Variant = Variant {
    kind: "several",
    keys: &[key("each", Takes::Each(&Takes::Tagged { variants: WORK, optional: false }))],
    required: &["each"],
};

const WORK: &[Variant] = &[
    Variant {
        kind: "memory-write",
        keys: &[
            WORKING_SET,
            ALLOCATED,
            RATE,
            key("bytes_per_page", whole("bytes", 8, 4096)),
            PATTERN,
            COMPRESSIBILITY,
        ],
        required: &["working_set_mib"],
    },
    Variant {
        kind: "memory-read",
        keys: &[WORKING_SET, ALLOCATED, RATE, PATTERN, COMPRESSIBILITY],
        required: &["working_set_mib"],
    },
    Variant { kind: "disk-write", keys: FILE, required: &["file_mib"] },
    Variant { kind: "disk-read", keys: FILE, required: &["file_mib"] },
    Variant { kind: "cpu", keys: &[key("priority", whole("priority", 1, 10))], required: &["priority"] },
    Variant { kind: "clock", keys: &[], required: &[] },
    Variant {
        kind: "http-server",
        keys: &[key("increase_calls", whole("calls", 0, 100_000))],
        required: &[],
    },
    Variant { kind: "tcp-send", keys: &[RATE], required: &[] },
    Variant { kind: "tcp-receive", keys: &[RATE], required: &[] },
    Variant { kind: "udp-send", keys: &[DATAGRAM, RATE], required: &[] },
    Variant { kind: "udp-receive", keys: &[DATAGRAM, RATE], required: &[] },
];

const FILE: &[Key] = &[key("file_mib", whole("MiB", 1, DISK_MAX_MIB)), RATE, key("direct", Takes::Flag)];
const WORKING_SET: Key = key("working_set_mib", whole("MiB", 1, MEMORY_MAX_MIB));
const ALLOCATED: Key = key("allocated_mib", whole("MiB", 1, MEMORY_MAX_MIB));
const RATE: Key = key("rate_mib_s", Takes::NumberOr { word: "full", of: "MiB/s", max: 1e6 });
const PATTERN: Key = key("pattern", Takes::Word(&["sequential", "uniform", "zipf"]));
/// From a number and what vouches for it to a full Ethernet frame.
const DATAGRAM: Key = key("datagram_bytes", whole("bytes", 16, 1472));
const COMPRESSIBILITY: Key = key("compressibility_percent", whole("percent", 0, 100));

const STRATEGIES: &[Variant] = &[
    Variant { kind: "pre-copy", keys: &[], required: &[] },
    Variant { kind: "post-copy", keys: &[key("preempt", Takes::Flag)], required: &[] },
    Variant {
        kind: "hybrid",
        keys: &[
            key("after_passes", whole("passes", 1, 1_000)),
            key("after_s", above_0("seconds", DAY_S)),
            key("preempt", Takes::Flag),
        ],
        required: &[],
    },
    Variant { kind: "suspend", keys: &[key("after_passes", whole("passes", 1, 1_000))], required: &[] },
    Variant { kind: "offline", keys: TRANSFER, required: &[] },
    Variant { kind: "cold", keys: TRANSFER, required: &[] },
];

const TRANSFER: &[Key] = &[
    key("way", Takes::Word(&["stream", "scp"])),
    key("compression", Takes::Word(&["none", "gzip", "zstd"])),
    key("level", whole("(1 the quickest)", 1, 22)),
    key("threads", whole("threads", 1, 64)),
    key("sparse", Takes::Flag),
];

const TRANSPORTS: &[Variant] = &[
    Variant { kind: "tcp", keys: CHANNELS, required: &[] },
    Variant { kind: "tls", keys: CHANNELS, required: &[] },
    Variant { kind: "mptcp", keys: CHANNELS, required: &[] },
    Variant { kind: "unix", keys: CHANNELS, required: &[] },
];

const CHANNELS: &[Key] =
    &[key("channels", whole("connections", 1, 255)), key("compression", Takes::Word(&["zlib", "zstd"]))];

impl From<&SettingKey> for Key {
    fn from(setting: &SettingKey) -> Self {
        let takes = match setting.takes {
            SettingKind::Text => Takes::Text,
            SettingKind::Word(words) => Takes::Word(words),
            SettingKind::Flag => Takes::Flag,
            SettingKind::Number => Takes::FromZero,
            SettingKind::Texts => Takes::Texts,
            SettingKind::Flags => Takes::Map(&Takes::Flag),
            SettingKind::Scalars => Takes::Map(&Takes::Scalar),
        };
        key(setting.name, takes)
    }
}

impl Takes {
    /// The keys of the table this takes, where they are always the same.
    pub(super) fn keys(&self) -> Option<Vec<Key>> {
        match self {
            Self::Table(keys) | Self::Switch(keys) => Some(keys.to_vec()),
            Self::Driver(keys) => Some(keys.iter().map(Key::from).collect()),
            _ => None,
        }
    }

    /// What an entry of the table this takes does take.
    pub(super) fn entry(&self, name: &str) -> Option<Takes> {
        let keys = match self {
            Self::Tagged { variants, .. } => {
                variants.iter().flat_map(|variant| variant.keys).copied().collect()
            }
            Self::Map(each) | Self::Each(each) => return Some(**each),
            _ => self.keys()?,
        };
        keys.into_iter().find(|key| key.name == name).map(|key| key.takes)
    }

    /// What stands here, in words, for a value of the wrong type.
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Table(_) | Self::Driver(_) | Self::Map(_) => "a table".into(),
            Self::Switch(_) => "a table, true or false".into(),
            Self::Tagged { variants, optional } => {
                let or_none = if *optional { ", or false" } else { "" };
                let kind = variants.first().map_or("…", |variant| variant.kind);
                format!("a table as in {{ kind = \"{kind}\" }}{or_none}")
            }
            Self::Whole { of, .. } => format!("a whole number of {of}"),
            Self::Number { of, .. } => format!("a number of {of}"),
            Self::NumberOr { word, of, .. } => format!("a number of {of} or \"{word}\""),
            Self::FromZero => "a number from 0 on".into(),
            Self::Percent => "a share as in \"5%\"".into(),
            Self::Word(words) => one_of(words),
            Self::Text | Self::AnyText => "text".into(),
            Self::Flag => "true or false".into(),
            Self::Texts => "a list of texts".into(),
            Self::Each(each) => format!("a list, each of its entries {}", each.expected()),
            Self::Scalar => "a number, text, true or false".into(),
        }
    }

    /// Whether a value without parts is one of those this takes.
    pub(super) fn verdict(&self, node: &Node) -> Verdict {
        match (self, &node.value) {
            (Self::Whole { of, min, max }, Value::Leaf(Leaf::Integer(value))) => {
                Verdict::within(min <= value && value <= max, || format!("{min} to {max} {of}"))
            }
            (Self::Number { of, min, above, max }, Value::Leaf(leaf)) => match leaf.number() {
                Some(value) => number_verdict(value, of, *min, *above, *max),
                None => Verdict::WrongType,
            },
            (Self::NumberOr { word, of, max }, Value::Leaf(leaf)) => match leaf {
                Leaf::Text(text) if text == word => Verdict::Fits,
                leaf => match leaf.number() {
                    Some(value) => number_verdict(value, of, 0.0, true, *max).or_word(word),
                    None => Verdict::WrongType,
                },
            },
            (Self::FromZero, Value::Leaf(leaf)) => match leaf.number() {
                Some(value) => Verdict::within(value >= 0.0 && value.is_finite(), || self.expected()),
                None => Verdict::WrongType,
            },
            (Self::Percent, Value::Leaf(Leaf::Text(text))) => {
                Verdict::within(Percent::try_from(text.clone()).is_ok(), || {
                    "a share above 0 % and up to 100 %, as in \"5%\"".into()
                })
            }
            (Self::Word(words), Value::Leaf(Leaf::Text(text))) => {
                Verdict::within(words.contains(&text.as_str()), || one_of(words))
            }
            (Self::Text, Value::Leaf(Leaf::Text(text))) => {
                Verdict::within(!text.trim().is_empty(), || "text that is not empty".into())
            }
            (Self::AnyText, Value::Leaf(Leaf::Text(_)))
            | (Self::Flag | Self::Switch(_), Value::Leaf(Leaf::Bool(_)))
            | (Self::Tagged { optional: true, .. }, Value::Leaf(Leaf::Bool(false)))
            | (Self::Scalar, Value::Leaf(Leaf::Bool(_) | Leaf::Integer(_) | Leaf::Text(_))) => Verdict::Fits,
            (Self::Scalar, Value::Leaf(Leaf::Float(value))) if value.is_finite() => Verdict::Fits,
            _ => Verdict::WrongType,
        }
    }
}

/// What comes of holding a value against what its key takes.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Fits,
    WrongType,
    /// The right type, but not this.
    Impossible {
        expected: String,
    },
}

impl Verdict {
    fn within(fits: bool, expected: impl FnOnce() -> String) -> Self {
        if fits { Self::Fits } else { Self::Impossible { expected: expected() } }
    }

    fn or_word(self, word: &str) -> Self {
        match self {
            Self::Impossible { expected } => {
                Self::Impossible { expected: format!("{expected}, or \"{word}\"") }
            }
            other => other,
        }
    }
}

fn number_verdict(value: f64, of: &str, min: f64, above: bool, max: f64) -> Verdict {
    // Written so that a NaN does not fit.
    let high_enough = if above { value > min } else { value >= min };
    Verdict::within(high_enough && value <= max, || {
        if above { format!("more than {min} and at most {max} {of}") } else { format!("{min} to {max} {of}") }
    })
}

impl Leaf {
    /// The value as a number, if it is one.
    #[expect(clippy::cast_precision_loss, reason = "no setting is near 2^53")]
    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }
}
