use std::process::ExitCode;

/// Znodes are millions of small blocks: an allocator with tight size classes is a fifth of the memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringkeeper::cli::run(std::env::args_os()).into()
}
