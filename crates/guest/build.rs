//! Builds the agent as a static program, so that every binary that can make a guest carries it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What the agent is made of, seen from this package.
const SOURCES: [&str; 10] = [
    "../agent/src",
    "../agent/Cargo.toml",
    "../agent-proto/src",
    "../agent-proto/Cargo.toml",
    "../clock/src",
    "../clock/Cargo.toml",
    "../traffic/src",
    "../traffic/Cargo.toml",
    "../../Cargo.toml",
    "../../Cargo.lock",
];

fn main() -> ExitCode {
    match build_agent() {
        Ok(agent) => {
            println!("cargo::rustc-env=DUNLIN_AGENT={}", agent.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn build_agent() -> Result<PathBuf, String> {
    let variable = |name| env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"));
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    // A folder of its own: the outer cargo holds the lock of the usual one.
    let target_dir = PathBuf::from(variable("OUT_DIR")?).join("agent");
    let status = Command::new(variable("CARGO")?)
        .args(["build", "--quiet", "--release", "--package", "dunlin-agent", "--target", TARGET])
        .arg("--manifest-path")
        .arg(package.join("../../Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static")
        // What the outer build was told (by clippy, say) is not meant for the agent.
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .map_err(|error| format!("run cargo to build the agent: {error}"))?;
    if !status.success() {
        return Err(format!(
            "build the agent for {TARGET}: cargo ended with {status}, its messages are above"
        ));
    }
    Ok(target_dir.join(TARGET).join("release/dunlin-agent"))
}
