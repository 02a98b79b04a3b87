use std::process::ExitCode;

/// Client cores and the Zab core free what the other allocated. Built without huge pages (`no_thp`): they kept 16 MB
/// resident in an idle server and 30 to 60 bytes per znode, and made nothing faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ringkeeper::cli::run(std::env::args_os()).into()
}
