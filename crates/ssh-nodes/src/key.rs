//! Keys made for the test, without a passphrase.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, SshNodesError, run};

/// A pair of keys.
#[derive(Debug)]
pub(crate) struct Key {
    /// Where the private one lies.
    pub(crate) path: PathBuf,
    /// The public one, as it stands in a file of known hosts or of authorized keys: without a comment.
    pub(crate) public: String,
}

impl Key {
    /// Makes a pair in a folder.
    pub(crate) fn make(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&path);
        run(&mut keygen)?;
        let public = folder.join(format!("{name}.pub"));
        let public =
            fs::read_to_string(&public).map_err(SshNodesError::io(format!("read {}", public.display())))?;
        Ok(Self { path, public: public.trim().to_owned() })
    }

    /// The private one.
    pub(crate) fn private(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).map_err(SshNodesError::io(format!("read {}", self.path.display())))
    }
}
