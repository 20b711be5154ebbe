//! The one connection to a machine (`ControlMaster` of ssh_config(5)), over which all sessions go.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::socket_folder::SocketFolder;
use dunlin_clock::Deadline;
use dunlin_record::in_one_line;

use super::Target;
use crate::{Result, TestbedError, children};

/// How long a machine may take to let us in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Until it answers (`ConnectTimeout`), in seconds.
    answer_s: u32,
    /// In all.
    limit: Duration,
}

impl Patience {
    /// The first time: nobody waits for anything else.
    pub(super) const FIRST: Self = Self { answer_s: 10, limit: Duration::from_secs(30) };
    /// Again, in the middle of something.
    pub(super) const AGAIN: Self = Self { answer_s: 5, limit: Duration::from_secs(8) };
}

/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How much of what ssh says is kept.
const WORDS_BYTES: usize = 4096;
/// Whatever the user's configuration says of these: nobody is there to be asked, nothing but our sessions goes over the
/// connection, and it ends soon when the machine is gone: after 2 s four times, and not before we ourselves take it for lost.
const OPTIONS: [&str; 14] = [
    // Older clients do not know the two.
    "IgnoreUnknown=ForkAfterAuthentication,StdinNull",
    "ForkAfterAuthentication=no",
    "StdinNull=no",
    "BatchMode=yes",
    "ServerAliveInterval=2",
    "ServerAliveCountMax=4",
    "ControlPersist=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
];

/// A connection that is up. Dropping it ends it, and every session with it.
#[derive(Debug)]
pub(super) struct Master {
    child: Child,
    target: Target,
    socket: PathBuf,
    words: Words,
    // After the socket's user.
    _folder: SocketFolder,
}

impl Master {
    /// Connects, and waits until the machine has let us in.
    pub(super) fn open(target: &Target, patience: Patience) -> Result<Self> {
        let folder = SocketFolder::make()?;
        let socket = folder.socket();
        let mut command = client(target, &socket);
        command.args(["-o", &format!("ConnectTimeout={}", patience.answer_s)]);
        command.args(["-M", "-N", "--", &target.destination]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = children::spawn(command)?;
        let words = Words::of(child.stderr.take());
        let mut master = Self { child, target: target.clone(), socket, words, _folder: folder };
        let deadline = Deadline::after(patience.limit);
        // ssh makes it once it is let in.
        while !master.socket.exists() {
            if let Ok(Some(_)) = master.child.try_wait() {
                return Err(failure(target, "connect to it", &master.words.said()));
            }
            if deadline.passed() {
                let why = format!("it did not let us in within {} s", patience.limit.as_secs());
                return Err(failure(target, "connect to it", &why));
            }
            std::thread::sleep(deadline.step(LOOK_EVERY));
        }
        Ok(master)
    }

    /// A session on it that runs a command by the machine's shell, its input and output on pipes. Its words go to nobody: a
    /// helper says all that matters in its frames.
    pub(super) fn session(&self, command: &str) -> Result<(Child, Words)> {
        let mut session = client(&self.target, &self.socket);
        // Where the connection is gone the client would make another by itself.
        session.args([
            "-o",
            "ControlMaster=no",
            "-o",
            "ProxyCommand=false",
            "--",
            &self.target.destination,
            command,
        ]);
        session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = children::spawn(session)?;
        let words = Words::of(child.stderr.take());
        Ok((child, words))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The user's client as we need it.
fn client(target: &Target, socket: &Path) -> Command {
    let mut command = Command::new("ssh");
    if let Some(config) = &target.config {
        command.arg("-F").arg(config);
    }
    for option in OPTIONS {
        command.args(["-o", option]);
    }
    command.arg("-T").arg("-S").arg(socket);
    command
}

/// What ssh says on its standard error: the end of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    fn of(stderr: Option<ChildStderr>) -> Self {
        let words = Self::default();
        let Some(mut stderr) = stderr else { return words };
        let kept = words.clone();
        let read = move || {
            let mut piece = [0; 1024];
            while let Ok(length @ 1..) = stderr.read(&mut piece) {
                let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&piece[..length]);
                let excess = kept.len().saturating_sub(WORDS_BYTES);
                kept.drain(..excess);
            }
        };
        // Without the thread there are no words, which is no failure of its own.
        let _ = std::thread::Builder::new().name("ssh-words".into()).spawn(read);
        words
    }

    /// What was said until a moment after its end.
    pub(super) fn said(&self) -> String {
        std::thread::sleep(Duration::from_millis(50));
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

/// What could not be done with a machine, in ssh's words, and what may mend it.
pub(super) fn failure(target: &Target, doing: &str, words: &str) -> TestbedError {
    let said: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let by_hand = target.by_hand();
    let has = |text: &str| words.contains(text);
    let mend = if has("IDENTIFICATION HAS CHANGED") {
        format!(
            "it is another machine, or was installed anew: ask whoever runs it for the new key's fingerprint; `ssh-keygen -R` \
             forgets the old one, then `{by_hand}` by hand"
        )
    } else if has("Host key verification failed") {
        format!("its host key is not known here: `{by_hand}` once by hand, and compare the fingerprint")
    } else if has("Permission denied") {
        format!(
            "`{by_hand}` must need no password: a key that it knows, and with a passphrase an agent (ssh-add)"
        )
    } else {
        format!("does `{by_hand}` work by hand?")
    };
    // Of a changed key it says a page; the end tells what it is about.
    let why = match said.as_slice() {
        [] => "ssh did not say why".to_owned(),
        [.., _, _, _, _] if has("IDENTIFICATION HAS CHANGED") => "its host key has changed".to_owned(),
        lines => lines[lines.len().saturating_sub(3)..].join("; "),
    };
    TestbedError::Ssh { host: target.id.to_string(), doing: doing.to_owned(), why, mend }
}

impl Target {
    /// What a user types to get there.
    pub(super) fn by_hand(&self) -> String {
        let config =
            self.config.as_ref().map(|config| format!("-F {} ", config.display())).unwrap_or_default();
        format!("ssh {config}{}", self.destination)
    }

    /// A failure whose reason is an error of ours.
    pub(super) fn failed(&self, doing: &str, error: &dyn std::error::Error) -> TestbedError {
        failure(self, doing, &in_one_line(error))
    }
}
