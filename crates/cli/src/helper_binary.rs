//! The helper that `dunlin` carries: a static program for x86-64 Linux, to be copied to hosts.

use sha2::{Digest, Sha256};

/// The program.
#[must_use]
pub fn helper_binary() -> &'static [u8] {
    include_bytes!(env!("DUNLIN_HELPER"))
}

/// Its SHA-256 in hexadecimal, as `sha256sum` of a host writes it.
#[must_use]
pub fn helper_sha256() -> String {
    sha256(helper_binary())
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Of `<elf.h>`: a program that a dynamic loader has to start.
    const INTERPRETER: u32 = 3;
    const X86_64: u16 = 62;

    #[test]
    fn the_carried_helper_is_for_x86_64_and_asks_for_no_dynamic_loader() {
        // ELF: the program headers begin where byte 32 says, are 56 bytes long, and as many as byte 56 says.
        let program = helper_binary();
        assert!(program.starts_with(b"\x7fELF"));
        assert_eq!(u16::from_le_bytes(program[18..20].try_into().unwrap()), X86_64);
        let start = u64::from_le_bytes(program[32..40].try_into().unwrap()) as usize;
        let count = usize::from(u16::from_le_bytes(program[56..58].try_into().unwrap()));
        let headers = program[start..].chunks_exact(56).take(count);
        let kinds: Vec<u32> =
            headers.map(|header| u32::from_le_bytes(header[..4].try_into().unwrap())).collect();
        assert!(kinds.len() > 2 && !kinds.contains(&INTERPRETER), "{kinds:?}");
    }

    #[test]
    fn it_greets_as_a_helper_and_ends_with_its_input() {
        // The file whose bytes are carried: a copy just written may not be run while another test forks with it open.
        let ran = Command::new(env!("DUNLIN_HELPER")).stdin(Stdio::null()).env_clear().output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let said = String::from_utf8(ran.stdout).unwrap();
        let version = said.strip_prefix("dunlin-helper ").and_then(|rest| rest.strip_suffix('\n')).unwrap();
        assert!(version.parse::<u32>().is_ok(), "{said:?}");
    }

    #[test]
    fn its_digest_is_what_sha256sum_says() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(helper_sha256().len(), 64);
    }
}
