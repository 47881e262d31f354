//! Entry point of the one binary: everything is in [`kmsnotif::cli`].

fn main() -> std::process::ExitCode {
    kmsnotif::cli::main()
}
