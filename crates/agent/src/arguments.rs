//! The command line of an agent that is a program.

use std::ffi::OsString;
use std::path::PathBuf;

use dunlin_agent_proto::PORT_NAME;

/// Said by `--help`, and where the command line is wrong.
pub(crate) const USAGE: &str = "\
Dunlin's agent: answers the bench over a virtio-serial channel of this VM.

Usage: dunlin-agent run [--channel NAME] [--folder DIR]

Options of run:
  --channel NAME  the channel's name [default: dunlin.agent]
  --folder DIR    workloads' files go into a folder made in DIR, and removed at the end [default: /var/tmp]

  --help          print this
  --version       print the version

It changes nothing of the system: it mounts nothing, sets no clock and no address, and refuses when it is asked to.
It ends at SIGTERM. As process 1, and without `run`, it is the init of a guest that Dunlin has made.
";

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Serve.
    Run(Settings),
    Help,
    Version,
}

/// How to serve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The port's name.
    pub(crate) channel: String,
    /// Where the folder for files is made.
    pub(crate) parent: PathBuf,
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Wanted, String> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next().ok_or("what is to be done?")?;
    let wanted = match first.to_str() {
        Some("run") => return parse_run(arguments),
        Some("--help" | "-h" | "help") => Wanted::Help,
        Some("--version" | "-V") => Wanted::Version,
        _ => return Err(unknown(&first)),
    };
    arguments.next().map_or(Ok(wanted), |more| Err(unknown(&more)))
}

fn parse_run(mut arguments: impl Iterator<Item = OsString>) -> Result<Wanted, String> {
    let (mut channel, mut parent) = (None, None);
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().ok_or_else(|| unknown(&argument))?;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        let place = match name {
            "--channel" => &mut channel,
            "--folder" => &mut parent,
            "--help" | "-h" if value.is_none() => return Ok(Wanted::Help),
            _ => return Err(unknown(&argument)),
        };
        let value = value.or_else(|| arguments.next()).ok_or_else(|| format!("{name} needs a value"))?;
        if place.replace(value).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    Ok(Wanted::Run(Settings {
        channel: channel.map_or_else(|| Ok(PORT_NAME.into()), checked_channel)?,
        parent: parent.map_or_else(|| "/var/tmp".into(), PathBuf::from),
    }))
}

/// A name that is one file's name in `/dev/virtio-ports`.
fn checked_channel(name: OsString) -> Result<String, String> {
    match name.into_string() {
        Ok(name) if !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0', '\n']) => {
            Ok(name)
        }
        Ok(name) => Err(format!("--channel {name:?}: no channel can have this name")),
        Err(name) => Err(format!("--channel {name:?}: no channel can have this name")),
    }
}

fn unknown(argument: &OsString) -> String {
    format!("what does {argument:?} mean?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wanted, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run(channel: &str, parent: &str) -> Result<Wanted, String> {
        Ok(Wanted::Run(Settings { channel: channel.into(), parent: parent.into() }))
    }

    #[test]
    fn what_is_given_is_taken_and_the_rest_is_as_usual() {
        assert_eq!(parsed("run"), run(PORT_NAME, "/var/tmp"));
        assert_eq!(parsed("run --channel org.example.0"), run("org.example.0", "/var/tmp"));
        assert_eq!(parsed("run --folder=/srv --channel=a=b"), run("a=b", "/srv"));
        assert_eq!(parsed("--help"), Ok(Wanted::Help));
        assert_eq!(parsed("run --channel x --help"), Ok(Wanted::Help));
        assert_eq!(parsed("--version"), Ok(Wanted::Version));
        assert!(USAGE.contains(PORT_NAME));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("", "what is to be done"),
            ("runs", "\"runs\""),
            ("--version now", "\"now\""),
            ("run fast", "\"fast\""),
            ("run --channel", "--channel needs a value"),
            ("run --channel a --channel b", "twice"),
            ("run --channel ../x", "\"../x\""),
            ("run --channel ..", "\"..\""),
            ("run --channel=", "\"\""),
        ] {
            let said = parsed(line).unwrap_err();
            assert!(said.contains(named), "{line}: {said}");
        }
    }
}
