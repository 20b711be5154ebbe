//! What the agent has to say when the link cannot carry it.

use std::io::Write;

/// Prints a line on the guest's console.
pub(crate) fn say(text: &str) {
    // There is nobody left to tell if the console is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What went wrong while the guest came up: on the console at once, and kept for the client.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Vec<String>);

impl Troubles {
    /// Notes the failure, if it is one.
    pub(crate) fn note(&mut self, outcome: Result<(), String>) {
        if let Err(trouble) = outcome {
            say(&format!("dunlin-agent: {trouble}"));
            self.0.push(trouble);
        }
    }

    /// What was noted so far.
    pub(crate) fn list(&self) -> &[String] {
        &self.0
    }
}
