//! Entry point of the one binary: everything is in [`kmsnotif::cli`].

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    kmsnotif::cli::main()
}
