//! Frames in, frames out, on the runtime the server's client cores use: one read and one write per
//! turn.

use std::io;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

/// What becomes of the connection after a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    KeepOpen,
    /// Send what is queued, then close.
    Close,
}

const READ_CHUNK: usize = 64 << 10;
/// No frame of a measurement is larger; a longer one is not ours, and its connection is closed.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Registered memory per executor, in bytes: TCP does not use it, and memlock limits are small.
const IO_MEMORY: usize = 512 << 10;

/// Answers with the frame itself.
pub fn echo(frame: &[u8], out: &mut Vec<u8>) -> After {
    out.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    out.extend_from_slice(frame);
    After::KeepOpen
}

/// Serves `addr` on `cores` threads for ever; every connection gets an `answer` of its own from
/// `make`.
pub fn serve<M, A>(addr: &str, cores: usize, make: M) -> io::Result<()>
where
    M: Fn() -> A + Clone + Send + 'static,
    A: FnMut(&[u8], &mut Vec<u8>) -> After + 'static,
{
    let handles: Vec<_> = (0..cores.max(1))
        .map(|core| {
            let (addr, make) = (addr.to_owned(), make.clone());
            LocalExecutorBuilder::new(Placement::Unbound)
                .name(&format!("frames-{core}"))
                .io_memory(IO_MEMORY)
                .spawn(move || accept(addr, make))
                .map_err(|error| io::Error::other(error.to_string()))
        })
        .collect::<io::Result<_>>()?;
    for handle in handles {
        handle.join().map_err(|error| io::Error::other(error.to_string()))??;
    }
    Ok(())
}

async fn accept<M, A>(addr: String, make: M) -> io::Result<()>
where
    M: Fn() -> A + 'static,
    A: FnMut(&[u8], &mut Vec<u8>) -> After + 'static,
{
    let listener = TcpListener::bind(addr)?;
    loop {
        let stream = listener.accept().await?;
        let answer = make();
        glommio::spawn_local(async move {
            // A client that goes away in the middle is the end of its connection and of nothing
            // else.
            let _ = connection(stream, answer).await;
        })
        .detach();
    }
}

async fn connection(
    mut stream: TcpStream,
    mut answer: impl FnMut(&[u8], &mut Vec<u8>) -> After,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut inbound = vec![0; READ_CHUNK];
    let mut filled = 0;
    let mut out = Vec::new();
    loop {
        if inbound.len() - filled < READ_CHUNK / 2 {
            inbound.resize(inbound.len() + READ_CHUNK, 0);
        }
        let got = stream.read(&mut inbound[filled..]).await?;
        if got == 0 {
            return Ok(());
        }
        filled += got;
        let (used, after) = answer_all(&inbound[..filled], &mut out, &mut answer)?;
        inbound.copy_within(used..filled, 0);
        filled -= used;
        stream.write_all(&out).await?;
        out.clear();
        if after == After::Close {
            return stream.close().await;
        }
    }
}

/// Answers every whole frame in `bytes`; says how many bytes they were.
fn answer_all(
    bytes: &[u8],
    out: &mut Vec<u8>,
    answer: &mut impl FnMut(&[u8], &mut Vec<u8>) -> After,
) -> io::Result<(usize, After)> {
    let mut rest = bytes;
    while let Some((len, after_len)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
        }
        let Some((frame, next)) = after_len.split_at_checked(len) else {
            break;
        };
        rest = next;
        if answer(frame, out) == After::Close {
            return Ok((bytes.len() - rest.len(), After::Close));
        }
    }
    Ok((bytes.len() - rest.len(), After::KeepOpen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_frame_waits_and_an_endless_one_ends_it() {
        let bytes = [0, 0, 0, 2, 7, 8, 0, 0, 0, 9, 1];
        let mut out = Vec::new();
        let used = answer_all(&bytes, &mut out, &mut |frame, out| echo(frame, out)).unwrap();
        assert_eq!(used, (6, After::KeepOpen));
        assert_eq!(out, bytes[..6]);
        let endless = [0xff; 8];
        assert!(answer_all(&endless, &mut out, &mut |frame, out| echo(frame, out)).is_err());
    }
}
