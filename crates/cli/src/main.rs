//! The `dunlin` program.

fn main() -> std::process::ExitCode {
    dunlin_cli::run()
}
