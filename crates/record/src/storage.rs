//! Where a VM's disks lie, how those that move are copied, and how files are brought to the other host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an image is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// The disk's bytes, one after the other; what was never written is a hole of the file.
    #[default]
    Raw,
    /// QEMU's own (docs/interop/qcow2.txt there).
    Qcow2,
}

impl ImageFormat {
    /// Its name in scenarios, which is also QEMU's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }

    /// Whether an image of it can lie over another one.
    #[must_use]
    pub fn has_backing(self) -> bool {
        self == Self::Qcow2
    }

    pub(crate) fn is_raw(&self) -> bool {
        *self == Self::Raw
    }
}

/// Where the VM's disks lie, and how those that move are copied.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSettings {
    /// Who serves disks that both hosts see.
    pub server: StorageServer,
    /// Which blocks of disks that move are copied.
    pub blocks: Blocks,
    /// Whether the guest's writes wait for the copy.
    pub writes: Writes,
    /// Whether disks move first, by themselves, to storage of the destination's that both hosts see, and the VM goes on at the
    /// source with them before its memory moves. If not, both hosts' disks are kept even until the memory has moved.
    pub two_steps: bool,
    /// How fast disks may be copied, in MiB/s; as fast as can be if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_mib_s: Option<f64>,
    /// After so many seconds of a copy that does not catch up with the guest, the VM is stopped until it has; never if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_after_s: Option<f64>,
    /// Whether both hosts' images are compared block by block, while the VM stands still for it.
    pub compare: bool,
    /// What befalls the server of the disks during the migration; nothing if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<StorageFault>,
}

/// What befalls the server of shared disks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StorageFault {
    /// What.
    pub kind: StorageFaultKind,
    /// So many seconds after the migrate command.
    pub after_s: f64,
    /// For so many seconds; then it is there again.
    pub for_s: f64,
}

impl Default for StorageFault {
    fn default() -> Self {
        Self { kind: StorageFaultKind::default(), after_s: 0.0, for_s: 10.0 }
    }
}

/// How the server of shared disks goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StorageFaultKind {
    /// It is killed, and started again.
    #[default]
    Kill,
    /// It is frozen, and goes on.
    Freeze,
}

impl StorageSettings {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Who serves disks that both hosts see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StorageServer {
    /// A folder that both hosts see.
    #[default]
    Folder,
    /// NFS, version 3.
    Nfs,
    /// iSCSI.
    Iscsi,
    /// NBD.
    Nbd,
}

impl StorageServer {
    /// Its name in scenarios.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Nfs => "nfs",
            Self::Iscsi => "iscsi",
            Self::Nbd => "nbd",
        }
    }
}

/// Which blocks of disks that move are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Blocks {
    /// Those that hold something.
    #[default]
    Allocated,
    /// Those of the VM's own image; the destination has the backing image already.
    Overlay,
    /// All of them, those that were never written too, as KVM did in Hu et al., section 4.2.2.
    All,
}

/// Whether the guest's writes wait for the copy of its disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Writes {
    /// From when all was copied once, where the hypervisor can begin with that so late.
    #[default]
    WhenDue,
    /// Never: they are copied after.
    Background,
    /// From the begin.
    InStep,
}

/// How files of a VM that stands still are brought to the other host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Transfer {
    /// By what.
    pub way: TransferWay,
    /// How they are compressed.
    pub compression: FileCompression,
    /// How hard that tries; the compressor's own default if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// How many threads compress.
    pub threads: u32,
    /// Whether holes are left out: a stream does unless told otherwise, `scp` cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse: Option<bool>,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            way: TransferWay::default(),
            compression: FileCompression::default(),
            level: None,
            threads: 1,
            sparse: None,
        }
    }
}

/// By what files are brought to the other host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransferWay {
    /// A stream of ours over the migration network: compressed, sent and written at the same time.
    #[default]
    Stream,
    /// `scp`, as in Hu et al., section 4.2.4: compressed to a file first, copied, and then decompressed.
    Scp,
}

impl TransferWay {
    /// Its name in scenarios.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Scp => "scp",
        }
    }
}

/// How files are compressed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FileCompression {
    /// Not at all.
    #[default]
    None,
    /// By gzip (RFC 1952).
    Gzip,
    /// By zstd (RFC 8878).
    Zstd,
}

impl FileCompression {
    /// Its name in scenarios, and its program's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// A part of a move for which the VM stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StandstillStage {
    /// It is put to rest at the source: shut down, or its state saved.
    Rest,
    /// Its files are compressed, before any of it travels.
    Compress,
    /// Its files travel; with a stream they are compressed and written meanwhile.
    Transfer,
    /// Its files are decompressed, after all of it has travelled.
    Decompress,
    /// It is booted or restored where it is to run, until its agent answers.
    Wake,
}

/// What it took to bring a file of a VM to the other host; absent = not measured, or no such part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FileCarried {
    /// Which: a disk by its serial number, as in `dunlin-disk`, or `state`.
    pub file: String,
    /// Its length.
    pub file_bytes: i64,
    /// Read of it, holes left out where they were to be.
    pub content_bytes: i64,
    /// What that became when compressed, which is what travelled (without protocol overhead).
    pub sent_bytes: i64,
    /// Compressing it, in ms: where it travelled meanwhile, the time that took threads of the compressor, all together.
    pub compress_ms: Option<f64>,
    /// From its first byte leaving to the last having been written, in ms; with `scp` the copying alone.
    pub transfer_ms: Option<f64>,
    /// Decompressing it, in ms: where it travelled meanwhile, the time the decompressor worked.
    pub decompress_ms: Option<f64>,
    /// Whether compressing and decompressing went on while it travelled.
    pub overlapped: bool,
    /// How many threads compressed.
    pub threads: u32,
    /// Whether both ends' contents were the same by a checksum; absent where nobody compared.
    pub verified: Option<bool>,
}
