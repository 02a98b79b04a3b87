//! Jute: ZooKeeper's record encoding (reference: client-protocol 2, disk-format 1). Big-endian, no tags, no
//! alignment. Decoding borrows from the frame and never allocates from a length field.

use std::borrow::Cow;
use std::fmt;

/// Why bytes are not the record they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The record needs more bytes than there are.
    EndOfData,
    /// A string or buffer length below -1, or past `jute.maxbuffer` plus its extra size.
    BadLength(i32),
    /// A field has a value that this record cannot carry; the text names it.
    BadValue(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::EndOfData => write!(f, "record ends before its last field"),
            DecodeError::BadLength(len) => write!(f, "unreasonable length {len}"),
            DecodeError::BadValue(what) => write!(f, "unreasonable value of {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

pub type Result<T> = std::result::Result<T, DecodeError>;

/// What Java holds for a string from the moment it reads one: malformed UTF-8 is U+FFFD, so texts that differ only
/// there are one.
pub fn java_text(bytes: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(_) => Cow::Borrowed(bytes),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Reads fields from the front of a byte slice. A failed read leaves the position where it was.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes as they are.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::EndOfData)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::EndOfData)?;
        self.rest = tail;
        Ok(*head)
    }

    /// Any non-zero byte is true.
    pub fn bool(&mut self) -> Result<bool> {
        Ok(self.array::<1>()?[0] != 0)
    }

    pub fn int(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn long(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A buffer or ustring: `None` for null (-1), distinct from empty.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>> {
        let before = self.rest;
        match self.int()? {
            -1 => Ok(None),
            len if len < 0 => {
                self.rest = before;
                Err(DecodeError::BadLength(len))
            }
            len => match self.bytes(len as usize) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) => {
                    self.rest = before;
                    Err(error)
                }
            },
        }
    }

    /// A ustring as its raw bytes; null where the protocol has no null is the caller's business.
    pub fn ustring(&mut self) -> Result<Option<&'a [u8]>> {
        self.buffer()
    }

    /// The count of a vector: `None` for null (-1). Counts below -1 read as an empty vector, as in Java. The
    /// count is not bounded: elements are read until the bytes run out.
    pub fn vector(&mut self) -> Result<Option<i32>> {
        Ok(match self.int()? {
            -1 => None,
            count => Some(count.max(0)),
        })
    }
}

/// Appends jute fields to a byte vector.
pub trait JuteWrite {
    fn put_bool(&mut self, value: bool);
    fn put_int(&mut self, value: i32);
    fn put_long(&mut self, value: i64);
    /// A buffer or ustring; `None` is null.
    fn put_buffer(&mut self, value: Option<&[u8]>);
    /// A non-null ustring.
    fn put_str(&mut self, value: &str);
}

impl JuteWrite for Vec<u8> {
    fn put_bool(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    fn put_int(&mut self, value: i32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_long(&mut self, value: i64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn put_buffer(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.put_int(-1),
            Some(bytes) => {
                self.put_int(bytes.len() as i32);
                self.extend_from_slice(bytes);
            }
        }
    }

    fn put_str(&mut self, value: &str) {
        self.put_buffer(Some(value.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_round_trip_and_null_is_not_empty() {
        let mut out = Vec::new();
        out.put_bool(true);
        out.put_int(-2);
        out.put_long(i64::MIN);
        out.put_buffer(None);
        out.put_buffer(Some(b""));
        out.put_str("/a");
        let mut r = Reader::new(&out);
        assert_eq!(r.bool(), Ok(true));
        assert_eq!(r.int(), Ok(-2));
        assert_eq!(r.long(), Ok(i64::MIN));
        assert_eq!(r.buffer(), Ok(None));
        assert_eq!(r.buffer(), Ok(Some(&b""[..])));
        assert_eq!(r.ustring(), Ok(Some(&b"/a"[..])));
        assert!(r.is_empty());
        for cut in 0..out.len() {
            let mut r = Reader::new(&out[..cut]);
            let _ = (r.bool(), r.int(), r.long(), r.buffer(), r.buffer());
            assert!(r.ustring().is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_and_counts_as_java_reads_them() {
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xfe]).buffer(),
            Err(DecodeError::BadLength(-2))
        );
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).buffer(), Err(DecodeError::EndOfData));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff]).vector(), Ok(None));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xf0]).vector(), Ok(Some(0)));
    }
}
