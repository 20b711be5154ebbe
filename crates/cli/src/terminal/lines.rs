//! Standard output, some lines at a time.

use std::borrow::Cow;
use std::io::{self, Write};

/// So many bytes wait at most, but for a line that is longer.
const WAITING: usize = 1 << 16;

/// Holds back what it is given up to the end of a line, for whether a character is harmless may depend on the next one.
pub(super) struct Lines<W: Write = io::StdoutLock<'static>> {
    shown: fn(&str) -> Cow<'_, str>,
    waiting: Vec<u8>,
    to: W,
}

impl Lines {
    pub(super) fn new(shown: fn(&str) -> Cow<'_, str>) -> Self {
        Self { shown, waiting: Vec::new(), to: io::stdout().lock() }
    }
}

impl<W: Write> Lines<W> {
    fn write_up_to(&mut self, end: usize) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.waiting[..end]);
        self.to.write_all((self.shown)(&text).as_bytes())?;
        self.waiting.drain(..end);
        Ok(())
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WAITING
            && bytes.contains(&b'\n')
            && let Some(last) = self.waiting.iter().rposition(|byte| *byte == b'\n')
        {
            self.write_up_to(last + 1)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_up_to(self.waiting.len())?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use dunlin_record::harmless;

    use super::*;

    #[test]
    fn in_pieces_it_is_what_it_is_as_a_whole() {
        let text = "ä\r\n\u{1b}[2J, \u{202e}x\n".repeat(20_000) + "the last\r\n";
        for piece in [1, 2, 3, 1000, 65_536, text.len()] {
            let mut lines = Lines { shown: harmless, waiting: Vec::new(), to: Vec::new() };
            for bytes in text.as_bytes().chunks(piece) {
                lines.write_all(bytes).unwrap();
            }
            assert!(lines.waiting.len() < 2 * WAITING);
            lines.flush().unwrap();
            assert!(lines.to == harmless(&text).as_bytes(), "in pieces of {piece}");
        }
    }
}
