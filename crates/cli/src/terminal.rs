//! The only place that prints: results on standard output, progress and errors on standard error.
//!
//! Much of it holds words of others: guests' consoles, hypervisors, foreign captures and run folders, peers. None of them
//! steers the terminal: see [`harmless`].

mod lines;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use dunlin_record::{harmless, harmless_json};

use crate::failure::{Exit, Failure, Result};
use lines::Lines;

/// Prints a result for people.
pub(crate) fn print(text: &str) -> Result {
    write(&harmless(text))
}

/// Prints a result as JSON.
pub(crate) fn print_json(json: &str) -> Result {
    write(&harmless_json(json))
}

/// Prints a result for programs, byte by byte as it is; on a terminal as for people.
pub(crate) fn print_data(text: &str) -> Result {
    if io::stdout().is_terminal() { print(text) } else { write(text) }
}

/// A reader that has gone away (as `head` does) is not an error.
fn write(text: &str) -> Result {
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::says(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints as JSON a result that is better not held in memory as a whole.
pub(crate) fn print_json_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result {
    write_with(Lines::new(harmless_json), write)
}

/// Prints for programs a result that is better not held in memory as a whole; on a terminal as for people.
pub(crate) fn print_data_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result {
    write_with(Lines::new(if io::stdout().is_terminal() { harmless } else { as_it_is }), write)
}

fn as_it_is(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// A reader that has gone away is not an error.
fn write_with(mut lines: Lines, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result {
    match write(&mut lines).and_then(|()| lines.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::says(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line about what is going on.
pub(crate) fn say(text: &str) {
    tell(&mut io::stderr().lock(), &format!("{text}\n"));
}

/// Prints an error.
pub(crate) fn complain(failure: &Failure) {
    tell(&mut io::stderr().lock(), &failure.text());
}

fn tell(output: &mut impl Write, text: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = output.write_all(harmless(text).as_bytes());
}

/// Whether a person watches.
pub(crate) fn is_watched() -> bool {
    io::stderr().is_terminal()
}

/// How many columns there are for what is printed: those of the terminal, or where standard output is none, what the
/// environment's `COLUMNS` says; as many as it takes where that says nothing either.
pub(crate) fn width() -> Option<u16> {
    let terminal =
        terminal_size::terminal_size_of(io::stdout()).map(|(terminal_size::Width(columns), _)| columns);
    let asked = || std::env::var("COLUMNS").ok()?.trim().parse().ok();
    terminal.or_else(asked).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use dunlin_bench::BenchError;

    use super::*;

    #[test]
    fn a_guests_console_does_not_steer_the_terminal() {
        let error = BenchError::GuestDown {
            vm: "vm0".into(),
            host: "host-a".into(),
            why: "no answer within 60 s".into(),
            again: false,
            console: "Booting\r\n\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}5mKernel panic\u{202e}\r\n".into(),
        };
        let mut shown = Vec::new();
        tell(&mut shown, &Failure::new(Exit::Failed, &error).hint("\u{1b}c").text());
        let shown = String::from_utf8(shown).unwrap();
        assert!(
            shown.contains("Booting\n\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{9b}5mKernel panic\\u{202e}\n"),
            "{shown}"
        );
        assert!(shown.chars().all(|character| character == '\n' || !character.is_control()), "{shown:?}");
    }
}
