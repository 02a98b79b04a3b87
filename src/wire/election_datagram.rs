//! The datagrams of `electionAlg=0` (reference: election 7.1): a question and its answer, by UDP to the port where the
//! asked server listens for learners.
//!
//! ```text
//! question  i32 xid
//! answer    i32 xid, i64 sid of who answers, i64 leader, i64 zxid
//! ```

use super::jute::{DecodeError, JuteWrite, Reader, Result};
use crate::base::{Sid, Zxid};

/// Asks a server whom it votes for or follows. `xid` comes back in the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Question {
    pub xid: i32,
}

impl Question {
    pub const WIRE_BYTES: usize = 4;

    pub fn to_bytes(self) -> [u8; Question::WIRE_BYTES] {
        self.xid.to_be_bytes()
    }

    /// # Errors
    /// A datagram of any other length is no question.
    pub fn decode(datagram: &[u8]) -> Result<Question> {
        let bytes = datagram.try_into().map_err(|_| DecodeError::BadValue("question's length"))?;
        Ok(Question { xid: i32::from_be_bytes(bytes) })
    }
}

/// Whom a server votes for or follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    pub xid: i32,
    /// Who answers.
    pub sid: Sid,
    pub leader: Sid,
    /// While looking and while leading that of `leader`; a follower says its own.
    pub zxid: Zxid,
}

impl Answer {
    pub const WIRE_BYTES: usize = 28;
    /// What Java servers send: the same, and eight bytes that mean nothing.
    const JAVA_BYTES: usize = 36;

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_int(self.xid);
        out.put_long(self.sid.0);
        out.put_long(self.leader.0);
        out.put_long(self.zxid.0);
    }

    /// # Errors
    /// A datagram of any other length is no answer.
    pub fn decode(datagram: &[u8]) -> Result<Answer> {
        if !matches!(datagram.len(), Answer::WIRE_BYTES | Answer::JAVA_BYTES) {
            return Err(DecodeError::BadValue("answer's length"));
        }
        let mut r = Reader::new(datagram);
        Ok(Answer {
            xid: r.int()?,
            sid: Sid(r.long()?),
            leader: Sid(r.long()?),
            zxid: Zxid(r.long()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_and_every_other_length() {
        let question = Question { xid: 0x0102_0304 };
        assert_eq!(question.to_bytes(), [1, 2, 3, 4]);
        let answer = Answer { xid: -2, sid: Sid(3), leader: Sid(5), zxid: Zxid(0x1_0000_0009) };
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        let golden = [
            &[0xff, 0xff, 0xff, 0xfe][..],
            &[0, 0, 0, 0, 0, 0, 0, 3],
            &[0, 0, 0, 0, 0, 0, 0, 5],
            &[0, 0, 0, 1, 0, 0, 0, 9],
        ];
        assert_eq!(bytes, golden.concat());
        bytes.extend_from_slice(&[0xaa; 20]);
        for len in 0..=bytes.len() {
            let cut = &bytes[..len];
            let expected = matches!(len, 28 | 36).then_some(answer);
            assert_eq!(Answer::decode(cut).ok(), expected, "{len} bytes");
            assert_eq!(Question::decode(cut).is_ok(), len == 4, "{len} bytes");
        }
        assert_eq!(Question::decode(&question.to_bytes()), Ok(question));
    }
}
