//! The only place that prints: results on standard output, progress and errors on standard error.
//!
//! Much of it holds words of others: guests' consoles, hypervisors, foreign captures and run folders, peers. None of them
//! steers the terminal: see [`harmless`].

use std::io::{self, IsTerminal, Write};

use dunlin_record::{harmless, harmless_json};

use crate::failure::{Exit, Failure, Result};

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

/// The terminal's width in columns, if standard output is one.
pub(crate) fn width() -> Option<u16> {
    terminal_size::terminal_size_of(io::stdout()).map(|(terminal_size::Width(columns), _)| columns)
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
