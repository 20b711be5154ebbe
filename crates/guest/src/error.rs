//! What can go wrong with a guest.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use dunlin_agent_proto::LinkError;

/// Why something about a guest could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// A file or folder.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done, as in `read`.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing says where the cache is.
    #[error("find the cache folder: set DUNLIN_CACHE or HOME")]
    NoCache,
    /// A program that is not there.
    #[error("run {program}: it is not installed; {advice}")]
    NoProgram {
        /// Its name.
        program: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A program that could not be run.
    #[error("run {program}")]
    Run {
        /// Its name.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program that said no.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// What was run.
        command: String,
        /// The end of what it said.
        said: String,
    },
    /// An image of the user's that no disk can begin with.
    #[error("{} is no image that a disk can begin with: {why}", image.display())]
    Image {
        /// Its path.
        image: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// A program that did not end in time.
    #[error("`{command}` did not end within {} s", limit.as_secs())]
    Slow {
        /// What was run.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// No guest kernel can be fetched here.
    #[error("fetch a guest kernel: {why}; {advice}")]
    NoKernel {
        /// Why not.
        why: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A driver the guest needs.
    #[error("put the module {module} into the guest image: {} has it neither as a file nor built in", modules.display())]
    NoModule {
        /// Its name.
        module: String,
        /// The folder it was looked for in.
        modules: PathBuf,
    },
    /// Nothing came in time.
    #[error("wait {} s for the agent to answer \"{asked}\"{}", limit.as_secs_f64(), because(.broken.as_deref()))]
    Timeout {
        /// What was asked.
        asked: String,
        /// The limit.
        limit: Duration,
        /// Why the stream is broken, if it is.
        broken: Option<String>,
    },
    /// The stream to the agent could not be made ready.
    #[error("attach to the agent's stream")]
    Attach {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The link cannot go on.
    #[error("talk to the agent")]
    Link {
        /// Why not.
        #[source]
        source: LinkError,
    },
    /// The agent could not do what it was asked.
    #[error("the agent could not {what}")]
    Refused {
        /// What it could not do and why.
        what: String,
    },
    /// The agent's reply was of another kind.
    #[error("the agent answered \"{asked}\" with {reply}")]
    Unexpected {
        /// What was asked.
        asked: String,
        /// What came.
        reply: String,
    },
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, GuestError>;

impl GuestError {
    /// An error of what was being done to a path.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

fn because(broken: Option<&str>) -> String {
    broken.map_or_else(String::new, |why| format!(" (the stream is broken: {why})"))
}
