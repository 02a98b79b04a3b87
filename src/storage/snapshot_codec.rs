//! Snapshot streams: plain, gzip, and snappy in the framing of snappy-java (reference: disk-format 7.6, 7.7).
//! Checksums of the snapshot are over the uncompressed bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::wire::snapshot_format::TERMINATOR;

/// `snapshot.compression.method`, and what a file's suffix says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    #[default]
    Plain,
    Gzip,
    Snappy,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_VERSION: i32 = 1;
/// Uncompressed bytes per snappy block, as snappy-java writes them.
const XERIAL_BLOCK: usize = 32 << 10;
/// Longest compressed block accepted, in bytes: snappy-java's largest block is 512 MiB, nobody writes such.
const XERIAL_COMPRESSED_MAX: usize = 64 << 20;

impl Compression {
    /// The configured method; an unknown one means plain, as in Java.
    pub fn from_config(method: &str) -> Compression {
        match method {
            "gz" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            _ => Compression::Plain,
        }
    }

    /// What the last part of the name says; the zxid is the second part.
    pub fn of_path(path: &Path) -> Compression {
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some(suffix) => Compression::from_config(suffix),
            None => Compression::Plain,
        }
    }

    pub fn suffix(self) -> &'static str {
        match self {
            Compression::Plain => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }
}

/// Whether a file looks like a whole snapshot, by the rule purge and recovery choose candidates with: the last five
/// bytes of a plain file, the first bytes of a compressed one. A torn compressed file passes and fails at load.
pub fn looks_valid(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let starts_with = |magic: &[u8]| -> io::Result<bool> {
        let mut head = vec![0; magic.len()];
        if length < magic.len() as u64 {
            return Ok(false);
        }
        file.read_exact_at(&mut head, 0)?;
        Ok(head == magic)
    };
    match Compression::of_path(path) {
        Compression::Gzip => starts_with(&GZIP_MAGIC),
        Compression::Snappy => starts_with(&XERIAL_MAGIC),
        Compression::Plain => {
            let mut tail = [0; TERMINATOR.len()];
            if length < 10 {
                return Ok(false);
            }
            file.read_exact_at(&mut tail, length - TERMINATOR.len() as u64)?;
            Ok(tail == TERMINATOR)
        }
    }
}

/// Compresses what is written to it.
pub enum Encoder<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Snappy(Box<XerialWriter<W>>),
}

impl<W: Write> Encoder<W> {
    pub fn new(mut out: W, compression: Compression) -> io::Result<Encoder<W>> {
        Ok(match compression {
            Compression::Plain => Encoder::Plain(out),
            Compression::Gzip => Encoder::Gzip(GzEncoder::new(out, flate2::Compression::default())),
            Compression::Snappy => {
                out.write_all(&XERIAL_MAGIC)?;
                out.write_all(&XERIAL_VERSION.to_be_bytes())?;
                out.write_all(&XERIAL_VERSION.to_be_bytes())?;
                Encoder::Snappy(Box::new(XerialWriter::new(out)))
            }
        })
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(out) => out.write_all(bytes),
            Encoder::Gzip(out) => out.write_all(bytes),
            Encoder::Snappy(out) => out.write_all(bytes),
        }
    }

    /// Writes what is held back and the end of the stream.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::Plain(out) => Ok(out),
            Encoder::Gzip(out) => out.finish(),
            Encoder::Snappy(out) => out.finish(),
        }
    }
}

/// Blocks of compressed length and raw snappy data.
pub struct XerialWriter<W> {
    out: W,
    block: Vec<u8>,
    compressed: Vec<u8>,
    snappy: snap::raw::Encoder,
}

impl<W: Write> XerialWriter<W> {
    fn new(out: W) -> XerialWriter<W> {
        let compressed = vec![0; 4 + snap::raw::max_compress_len(XERIAL_BLOCK)];
        let block = Vec::with_capacity(XERIAL_BLOCK);
        XerialWriter { out, block, compressed, snappy: snap::raw::Encoder::new() }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let take = bytes.len().min(XERIAL_BLOCK - self.block.len());
            self.block.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.block.len() == XERIAL_BLOCK {
                self.write_block()?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        let length = self.snappy.compress(&self.block, &mut self.compressed[4..])?;
        self.compressed[..4].copy_from_slice(&(length as i32).to_be_bytes());
        self.block.clear();
        self.out.write_all(&self.compressed[..4 + length])
    }

    fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        Ok(self.out)
    }
}

/// Decompresses a stream of the given kind.
pub fn decoder<'a>(
    input: impl Read + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Plain => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Snappy => Box::new(XerialReader::new(input)?),
    })
}

struct XerialReader<R> {
    input: R,
    compressed: Vec<u8>,
    block: Vec<u8>,
    at: usize,
    snappy: snap::raw::Decoder,
}

impl<R: Read> XerialReader<R> {
    fn new(mut input: R) -> io::Result<XerialReader<R>> {
        let mut head = [0; 16];
        input.read_exact(&mut head)?;
        if head[..8] != XERIAL_MAGIC {
            return Err(invalid("not a snappy stream"));
        }
        let snappy = snap::raw::Decoder::new();
        Ok(XerialReader { input, compressed: Vec::new(), block: Vec::new(), at: 0, snappy })
    }

    /// False at the end of the stream.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut head = [0; 4];
        let mut got = 0;
        while got < head.len() {
            match self.input.read(&mut head[got..])? {
                0 if got == 0 => return Ok(false),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => got += n,
            }
        }
        let length = usize::try_from(i32::from_be_bytes(head))
            .ok()
            .filter(|&length| length <= XERIAL_COMPRESSED_MAX)
            .ok_or_else(|| invalid("unreasonable length of a snappy block"))?;
        self.compressed.clear();
        // Through take: a length that lies must not allocate more than there is.
        (&mut self.input).take(length as u64).read_to_end(&mut self.compressed)?;
        if self.compressed.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let plain = snap::raw::decompress_len(&self.compressed)?;
        if plain > XERIAL_COMPRESSED_MAX {
            return Err(invalid("unreasonable size of a snappy block"));
        }
        self.block.resize(plain, 0);
        self.snappy.decompress(&self.compressed, &mut self.block)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for XerialReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let take = out.len().min(self.block.len() - self.at);
        out[..take].copy_from_slice(&self.block[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_round_trips_and_a_cut_one_fails() {
        let plain: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        for compression in [Compression::Plain, Compression::Gzip, Compression::Snappy] {
            let mut encoder = Encoder::new(Vec::new(), compression).unwrap();
            for part in plain.chunks(12_345) {
                encoder.write_all(part).unwrap();
            }
            let stream = encoder.finish().unwrap();
            let mut back = Vec::new();
            decoder(&stream[..], compression).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == plain, "{compression:?}");
            if compression != Compression::Plain {
                let cut = &stream[..stream.len() - 1];
                let mut back = Vec::new();
                let result = decoder(cut, compression).unwrap().read_to_end(&mut back);
                assert!(result.is_err(), "{compression:?}");
            }
        }
    }

    #[test]
    fn the_suffix_is_the_last_part_of_the_name() {
        for (name, expected) in [
            ("snapshot.5", Compression::Plain),
            ("snapshot.5.gz", Compression::Gzip),
            ("snapshot.5.old.snappy", Compression::Snappy),
            ("snapshot.5.gz.old", Compression::Plain),
        ] {
            assert_eq!(Compression::of_path(Path::new(name)), expected, "{name}");
        }
    }
}
