//! Runs a program to its end, in a limit.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use dunlin_clock::{Deadline, MILLISECOND_NS, now_ns, sleep_until};

use crate::{GuestError, Result};

/// How often it is looked whether a program has ended.
const LOOK_NS: i64 = 10 * MILLISECOND_NS;
/// How long a program that was killed may take to be gone.
const KILLED_LIMIT: Duration = Duration::from_secs(5);
/// How much of what a failed program said is passed on.
const SAID_CHARS: usize = 600;

/// Runs `program` in the folder `dir` and gives what it wrote to its standard output.
///
/// # Errors
/// Where it is not there (with `advice`), fails, or takes longer than `limit`.
pub(crate) fn run(
    program: &str,
    arguments: &[&str],
    dir: &Path,
    limit: Duration,
    advice: &'static str,
) -> Result<String> {
    // Files, not pipes: a pipe nobody reads would stop a program that says much.
    let (said_path, complained_path) = (dir.join(".stdout"), dir.join(".stderr"));
    let file = |path: &Path| File::create(path).map_err(GuestError::io("create", path));
    let child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(file(&said_path)?)
        .stderr(file(&complained_path)?)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => GuestError::NoProgram { program: program.into(), advice },
            _ => GuestError::Run { program: program.into(), source },
        })?;
    let command = format!("{program} {}", arguments.join(" "));
    let Some(status) =
        wait(child, limit).map_err(|source| GuestError::Run { program: program.into(), source })?
    else {
        return Err(GuestError::Slow { command, limit });
    };
    if status.success() {
        return fs::read_to_string(&said_path).map_err(GuestError::io("read", said_path));
    }
    let complained = fs::read(&complained_path).map_err(GuestError::io("read", complained_path))?;
    Err(GuestError::Failed { command, said: last_chars(&String::from_utf8_lossy(&complained)) })
}

/// The exit status, or `None` if the program had to be killed at the limit.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let status = until(limit, || child.try_wait())?;
    if status.is_none() {
        child.kill()?;
        // One that the kernel does not let go of, as on a disk that hangs, is left to it.
        until(KILLED_LIMIT, || child.try_wait())?;
    }
    Ok(status)
}

/// Asks until there is an answer; `None` at the limit.
fn until<T>(limit: Duration, mut ask: impl FnMut() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let deadline = Deadline::after(limit);
    loop {
        let answer = ask()?;
        if answer.is_some() || deadline.passed() {
            return Ok(answer);
        }
        sleep_until(now_ns() + LOOK_NS);
    }
}

fn last_chars(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SAID_CHARS);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit_ms: u64) -> Result<String> {
        let dir = tempfile::tempdir().unwrap();
        run("sh", &["-c", script], dir.path(), Duration::from_millis(limit_ms), "install it")
    }

    #[test]
    fn what_a_program_says_is_kept_apart_from_what_it_complains_of() {
        assert_eq!(sh("echo yes; echo no >&2", 60_000).unwrap(), "yes\n");
        let said = sh("echo yes; echo no >&2; exit 3", 60_000).unwrap_err().to_string();
        assert!(said.ends_with("failed: no"), "{said}");
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        assert!(matches!(sh("exec sleep 600", 50), Err(GuestError::Slow { .. })));
    }

    #[test]
    fn what_never_ends_is_waited_for_no_longer_than_the_limit() {
        let mut asked = 0;
        let never = until(Duration::from_millis(40), || {
            asked += 1;
            Ok(None::<()>)
        });
        assert!(never.unwrap().is_none() && asked > 1, "{asked}");
    }

    #[test]
    fn a_missing_program_comes_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let outcome = run("no-such-program", &[], dir.path(), Duration::from_secs(1), "do without");
        assert_eq!(outcome.unwrap_err().to_string(), "run no-such-program: it is not installed; do without");
    }
}
