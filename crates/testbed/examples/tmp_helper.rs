fn main() {
    std::process::exit(dunlin_testbed::serve_remote_helper(&std::env::args().nth(1).unwrap_or_default()));
}
