//! Builds a program of this workspace as a static one, for the build script of a crate that carries it.
//!
//! The crate must not be among what the program is made of, or its build script would run itself for ever; that is
//! refused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Tells the build scripts within such a build what it builds.
const WITHIN: &str = "DUNLIN_BUILDS_STATIC_PROGRAM";

/// Builds a package's binary of the same name by a profile, and tells cargo of what files it is made, and its path in an
/// environment variable for `include_bytes!(env!(…))`. This is all that a build script's `main` has to do.
#[must_use]
pub fn carry(package: &str, profile: &str, variable: &str) -> ExitCode {
    match build(package, profile) {
        Ok(Built { program, sources }) => {
            for source in sources {
                tell(&format!("rerun-if-changed={}", source.display()));
            }
            tell(&format!("rustc-env={variable}={}", program.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("error={error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is how a build script speaks to cargo")]
fn tell(what: &str) {
    println!("cargo::{what}");
}

struct Built {
    program: PathBuf,
    sources: BTreeSet<PathBuf>,
}

fn build(package: &str, profile: &str) -> Result<Built, String> {
    let variable = |name| env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"));
    if let Some(outer) = env::var_os(WITHIN) {
        return Err(format!(
            "{} is made of a crate that carries a program ({package}) itself: this may never end",
            outer.display()
        ));
    }
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../..");
    // A folder of its own: the outer cargo holds the lock of the usual one.
    let target_dir = PathBuf::from(variable("OUT_DIR")?).join(package);
    let status = Command::new(variable("CARGO")?)
        .args(["build", "--quiet", "--locked", "--target", TARGET])
        .args(["--profile", profile, "--package", package])
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static")
        .env(WITHIN, package)
        // What the outer build was told (by clippy, say) is not meant for the program.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .map_err(|error| format!("run cargo to build {package}: {error}"))?;
    if !status.success() {
        return Err(format!(
            "build {package} for {TARGET}: cargo ended with {status}, its messages are above"
        ));
    }
    let program = target_dir.join(TARGET).join(profile).join(package);
    let list = program.with_extension("d");
    let text = fs::read_to_string(&list).map_err(|error| format!("read {}: {error}", list.display()))?;
    let mut sources = listed(&text);
    sources.extend(manifests(&sources));
    sources.extend(["Cargo.toml", "Cargo.lock"].map(|file| workspace.join(file)));
    Ok(Built { program, sources })
}

/// What a program is made of, as the file beside it lists it (`PROGRAM: FILE FILE …`, in the manner of make).
fn listed(text: &str) -> BTreeSet<PathBuf> {
    let files = text.split_once(": ").map_or("", |(_, files)| files);
    let mut paths = BTreeSet::new();
    let mut path = String::new();
    let mut letters = files.trim_end().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // So a space in a path is written.
            '\\' if letters.peek() == Some(&' ') => path.extend(letters.next()),
            ' ' | '\n' => drop(paths.insert(PathBuf::from(std::mem::take(&mut path)))),
            other => path.push(other),
        }
    }
    paths.insert(PathBuf::from(path));
    paths.retain(|path| !path.as_os_str().is_empty());
    paths
}

/// The manifests of the crates that these files are of, which the list leaves out.
fn manifests(sources: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let manifest = |source: &PathBuf| {
        source.ancestors().skip(1).map(|folder: &Path| folder.join("Cargo.toml")).find(|file| file.is_file())
    };
    sources.iter().filter_map(manifest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_a_programs_sources_is_read() {
        let read = |text| listed(text).into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(read("/t/p: /a/src/main.rs /b/src/lib.rs\n"), ["/a/src/main.rs", "/b/src/lib.rs"]);
        assert_eq!(read("/t/p: /my\\ work/main.rs /b\n"), ["/b", "/my work/main.rs"]);
        assert!(read("").is_empty());
        assert!(read("/t/p:\n").is_empty());
    }

    #[test]
    fn the_manifest_of_a_source_is_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a/src/deep/x.rs");
        fs::create_dir_all(source.parent().unwrap()).unwrap();
        fs::write(folder.path().join("Cargo.toml"), "").unwrap();
        fs::write(folder.path().join("a/Cargo.toml"), "").unwrap();
        assert_eq!(
            manifests(&BTreeSet::from([source])),
            BTreeSet::from([folder.path().join("a/Cargo.toml")])
        );
    }
}
