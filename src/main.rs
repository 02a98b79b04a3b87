use std::process::ExitCode;

fn main() -> ExitCode {
    ringkeeper::cli::run(std::env::args_os()).into()
}
