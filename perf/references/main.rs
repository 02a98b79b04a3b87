//! `zkref`: the physical references that results are read against.
//!
//! `fdatasync` says what the disk allows a log of one write and one flush at a time; `echo` what
//! TCP on the server's runtime allows; `null-server` what is left when a server speaks the protocol
//! but keeps nothing.

mod disk;
mod frames;
mod null;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "zkref", version, about = "Physical references for ringkeeper's measurements")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Linked write and fdatasync, one at a time, on a raw io_uring; JSON on stdout.
    Fdatasync {
        /// A directory on the disk in question. The files made in it are removed.
        #[arg(long)]
        dir: PathBuf,
        /// Bytes per write; a multiple of 4096.
        #[arg(long, default_value_t = 4096)]
        bytes: usize,
        /// Seconds for each of the four kinds of file.
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
    },
    /// Answers every frame with the same bytes, on glommio, until ended by a signal.
    Echo {
        #[arg(long, default_value = "127.0.0.1:2190")]
        addr: String,
        /// Cores, each with a thread and a listener of its own.
        #[arg(long, default_value_t = 1)]
        cores: usize,
    },
    /// Speaks the client protocol on glommio but keeps nothing, until ended by a signal.
    NullServer {
        #[arg(long, default_value = "127.0.0.1:2191")]
        addr: String,
        #[arg(long, default_value_t = 1)]
        cores: usize,
        /// Bytes of the value that getData answers.
        #[arg(long, default_value_t = 100)]
        value_bytes: usize,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Fdatasync { dir, bytes, seconds } => disk::measure(&dir, bytes, seconds),
        Command::Echo { addr, cores } => frames::serve(&addr, cores, || {
            |frame: &[u8], out: &mut Vec<u8>| frames::echo(frame, out)
        }),
        Command::NullServer { addr, cores, value_bytes } => {
            frames::serve(&addr, cores, move || {
                let mut state = null::NullServer::new(value_bytes);
                move |frame: &[u8], out: &mut Vec<u8>| state.answer(frame, out)
            })
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("zkref: {error}");
            ExitCode::FAILURE
        }
    }
}
