//! How our program gets onto a machine: into a folder of its own, checked, and started there by the same session that
//! brought it.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::Duration;

use dunlin_clock::{Deadline, now_ns};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::master::{Master, Words, failure};
use super::{HelperProgram, Target};
use crate::helper::remote::{FOLDER_PREFIX, LOCK, PROGRAM};
use crate::{Result, TestbedError};

/// How long a machine may take to say where our program goes.
const WORD_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to have it.
const BRING_LIMIT: Duration = Duration::from_secs(120);
/// The longest line that is read from a machine's shell.
const LINE_BYTES: usize = 4096;
/// How many lines its login may say before ours.
const LINES: usize = 1000;

/// What a machine's shell does (sh(1p)), with our words as its arguments: a name, an architecture, a size, a hash, whether
/// by sudo, then folders. There is no single quote in it, no `!`, which csh takes for its own even in quotes, and no word from
/// outside. Its lines begin after whatever a login has left of one. A program that never gets as far as to take its folder
/// loses it here; else the next one looks after it.
const SCRIPT: &str = r##"n=$1 arch=$2 size=$3 sha=$4 sudo=$5; shift 5; no() { printf "\ndunlin-failed %s\n" "$(printf "%s" "$*" | tr "\n" " ")"; exit 1; }; m=$(uname -m); [ "$m" = "$arch" ] || no arch "$m"; if [ "$sudo" = yes ]; then w=$(sudo -n true 2>&1) || no sudo "$w"; fi; umask 077; d= why=; for b in "$@"; do t=$b/$n; if w=$(mkdir "$t" 2>&1); then trap "rm -rf \"$t\"" EXIT; trap "rm -rf \"$t\"; exit 1" HUP TERM PIPE; printf "#\041/bin/sh\nexit 0\n" 2>/dev/null > "$t/try"; chmod 700 "$t/try"; if w=$("$t/try" 2>&1); then d=$t; rm "$t/try"; break; fi; rm -rf "$t"; fi; why="$why $w;"; done; [ -n "$d" ] || no folder "$why"; printf "\ndunlin-send %s\n" "$d"; w=$(timeout 120 head -c "$size" 2>&1 > "$d/PROGRAM") || no write "$w"; h=$(sha256sum < "$d/PROGRAM"); [ "${h%% *}" = "$sha" ] || no hash "$h"; chmod 700 "$d/PROGRAM"; printf "dunlin-start\n"; trap - EXIT HUP TERM PIPE; if [ "$sudo" = yes ]; then set -- sudo -n; else set --; fi; "$@" "$d/PROGRAM" host; e=$?; if [ -e "$d/LOCK" ]; then "$@" "$d/PROGRAM" sweep; else rm -rf "$d"; fi; exit $e"##;

/// Our program there, which has just been started.
pub(super) struct Delivered {
    pub(super) child: Child,
    /// In which it lies.
    pub(super) folder: PathBuf,
    /// What it and its shell say besides.
    pub(super) words: Words,
}

/// Brings our program and starts it.
pub(super) fn deliver(master: &Master, target: &Target, program: HelperProgram) -> Result<Delivered> {
    let (mut child, words) = master.session(&command(target, program))?;
    let delivered = bring(&mut child, target, program, &words);
    match delivered {
        Ok(folder) => Ok(Delivered { child, folder, words }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// The command that starts what was brought once more.
pub(super) fn again(target: &Target, folder: &std::path::Path) -> String {
    let sudo = if target.sudo { "sudo -n " } else { "" };
    format!("exec {sudo}{} measure", quoted(&folder.join(PROGRAM).to_string_lossy()))
}

fn command(target: &Target, program: HelperProgram) -> String {
    let script = SCRIPT.replace("PROGRAM", PROGRAM).replace("LOCK", LOCK);
    let name = format!("{FOLDER_PREFIX}{}-{}", std::process::id(), now_ns());
    let sudo = if target.sudo { "yes" } else { "no" };
    let base = target.folder.to_string_lossy();
    let words =
        [&name, std::env::consts::ARCH, &program.bytes.len().to_string(), program.sha256, sudo, &base];
    let words = words.map(quoted);
    format!("exec sh -c {} sh {}", quoted(&script), words.join(" "))
}

/// A word as a shell takes it whole.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn bring(child: &mut Child, target: &Target, program: HelperProgram, words: &Words) -> Result<PathBuf> {
    let doing = "bring our program there";
    let (Some(input), Some(output)) = (child.stdin.as_mut(), child.stdout.as_mut()) else {
        return Err(failure(target, doing, "the session has no pipes"));
    };
    let mut passed = String::new();
    let folder = match next_word(output, Deadline::after(WORD_LIMIT), &mut passed)? {
        Some(Word::Send(folder)) => folder,
        word => return Err(refused(target, word, &format!("{passed}\n{}", words.said()))),
    };
    // Where this breaks, the machine says why.
    let _ = send(input, program.bytes, Deadline::after(BRING_LIMIT));
    match next_word(output, Deadline::after(WORD_LIMIT), &mut passed)? {
        Some(Word::Start) => Ok(folder),
        word => Err(refused(target, word, &words.said())),
    }
}

/// What a machine's shell says.
#[derive(Debug, PartialEq)]
enum Word {
    Send(PathBuf),
    Start,
    Failed(String),
}

/// Why it was not done.
fn refused(target: &Target, word: Option<Word>, said: &str) -> TestbedError {
    let doing = "bring our program there".to_owned();
    let host = target.id.to_string();
    let base = target.folder.display();
    let Some(Word::Failed(told)) = word else {
        return failure(
            target,
            &doing,
            if said.trim().is_empty() { "its shell did not do as a POSIX shell does" } else { said },
        );
    };
    let (what, detail) = told.split_once(' ').unwrap_or((&told, ""));
    let detail = detail.trim().trim_end_matches(';');
    let (why, mend) = match what {
        "arch" => (
            format!("it is of the architecture {detail}, this dunlin of {}", std::env::consts::ARCH),
            "take a host of the same architecture as the bench".to_owned(),
        ),
        "sudo" => (
            format!("sudo -n: {detail}"),
            format!(
                "let {} use sudo without a password, or log in as root and drop `sudo = true`",
                target.destination
            ),
        ),
        "folder" => (
            format!("no folder for it: {detail}"),
            "name one on its file systems where programs may be run: `folder = \"/…\"` of the host"
                .to_owned(),
        ),
        "write" => {
            (detail.to_owned(), format!("make room in {base}, or name another folder: `folder = \"/…\"`"))
        }
        "hash" => (
            "what arrived is not what was sent".to_owned(),
            "is sha256sum (coreutils) there, and the connection well?".to_owned(),
        ),
        _ => (told.clone(), "this is a mistake in dunlin".to_owned()),
    };
    TestbedError::Ssh { host, doing, why, mend }
}

/// The next line of ours; what a login says besides is passed over, and its last line kept. None where the session ends.
fn next_word(output: &mut ChildStdout, deadline: Deadline, passed: &mut String) -> Result<Option<Word>> {
    for _ in 0..LINES {
        let Some(line) = next_line(output, deadline)? else { return Ok(None) };
        if let Some(folder) = line.strip_prefix("dunlin-send ") {
            return Ok(Some(Word::Send(folder.into())));
        }
        if line == "dunlin-start" {
            return Ok(Some(Word::Start));
        }
        if let Some(why) = line.strip_prefix("dunlin-failed ") {
            return Ok(Some(Word::Failed(why.to_owned())));
        }
        if !line.is_empty() {
            *passed = line;
        }
    }
    Ok(None)
}

/// Not a byte more than the line: what follows is the helper's.
fn next_line(output: &mut ChildStdout, deadline: Deadline) -> Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let wait = PollTimeout::try_from(deadline.left()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], wait) {
            Err(Errno::EINTR) if !deadline.passed() => continue,
            Ok(1..) => {}
            _ => {
                let waiting_for = "an answer of the machine's shell".into();
                return Err(TestbedError::Timeout { waiting_for, after_s: WORD_LIMIT.as_secs_f64() });
            }
        }
        let mut byte = [0];
        match output.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' => {
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            Ok(1) if line.len() < LINE_BYTES => line.extend(byte),
            Ok(1) => {}
            _ => return Ok(None),
        }
    }
}

/// Sends all within a time.
fn send(input: &mut ChildStdin, mut bytes: &[u8], deadline: Deadline) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let wait = PollTimeout::try_from(deadline.left()).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(input.as_fd(), PollFlags::POLLOUT)], wait) {
            Err(Errno::EINTR) if !deadline.passed() => continue,
            Ok(1..) => {}
            _ => return Err(std::io::ErrorKind::TimedOut.into()),
        }
        // No more than a pipe takes without waiting, once it takes any (pipe(7), PIPE_BUF).
        let piece = &bytes[..bytes.len().min(4096)];
        let length = input.write(piece)?;
        bytes = &bytes[length..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_no_quote_that_would_end_it() {
        assert!(!SCRIPT.contains(['\'', '!', '\n']));
    }

    #[test]
    fn a_word_is_quoted_whatever_it_holds() {
        for word in ["plain", "it's", "$(reboot)", "a b", "`x`", "\"", "-n", "ü\n"] {
            let told = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(told.stdout).unwrap(), word);
        }
    }
}
