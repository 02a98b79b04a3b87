//! Answers as comparable text: what may differ between two correct servers is replaced by what must not.
//!
//! - A session id becomes its distance from the first one of the run.
//! - A time becomes "t" when it is the time of the transaction the Stat names, as first seen in this run.
//! - Lists without an order are sorted.
//! - zxids stay: both servers start empty and are asked the same in the same order.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use ringkeeper::wire::jute::Result;
use ringkeeper::wire::multi::MultiHeader;
use ringkeeper::wire::reply::ReplyHeader;
use ringkeeper::wire::{AclEntry, OpCode, Reader, Stat};

use crate::support::hex;

/// Wall clocks may disagree with a transaction's time by this much, in milliseconds.
const CLOCK_SLACK_MS: i64 = 120_000;

/// What one server's run has taught about its own names for things.
#[derive(Default)]
pub struct Names {
    first_session: Option<i64>,
    times: HashMap<i64, i64>,
    /// Paths that creates have answered, for the generator.
    pub created: Vec<Vec<u8>>,
    /// Children of the last getChildren, for walks.
    pub children: Vec<Vec<u8>>,
    /// The highest zxid in a reply header.
    pub last_zxid: i64,
    /// How often each operation got each answer (error code; 0 is success): what a run has covered.
    pub answers: BTreeMap<(i32, i32), u64>,
}

impl Names {
    pub fn session(&mut self, id: i64) -> String {
        if id == 0 {
            return "none".into();
        }
        let first = *self.first_session.get_or_insert(id);
        format!("s{:+}", id.wrapping_sub(first))
    }

    fn time(&mut self, zxid: i64, time: i64) -> String {
        if time == 0 {
            return "0".into();
        }
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64);
        let known = *self.times.entry(zxid).or_insert(time);
        match (known == time, (now - time).abs() < CLOCK_SLACK_MS) {
            (true, true) => "t".into(),
            (true, false) => format!("far from now by {}", now - time),
            (false, _) => format!("not the time of zxid {zxid:#x}, off by {}", time - known),
        }
    }

    fn stat(&mut self, r: &mut Reader<'_>) -> Result<String> {
        let s = Stat::decode(r)?;
        Ok(format!(
            "{{c {:#x}@{} m {:#x}@{} p {:#x} v {} cv {} av {} owner {} len {} kids {}}}",
            s.czxid,
            self.time(s.czxid, s.ctime),
            s.mzxid,
            self.time(s.mzxid, s.mtime),
            s.pzxid,
            s.version,
            s.cversion,
            s.aversion,
            if s.ephemeral_owner == 0 { "-".into() } else { self.session(s.ephemeral_owner) },
            s.data_length,
            s.num_children,
        ))
    }

    /// One frame. `op` is the operation it should be the answer to; `None` when none is awaited.
    pub fn frame(&mut self, op: Option<i32>, frame: &[u8]) -> String {
        let mut r = Reader::new(frame);
        let Ok(header) = ReplyHeader::decode(&mut r) else {
            return format!("a frame without a header: {}", hex(frame));
        };
        self.last_zxid = self.last_zxid.max(header.zxid.0);
        let body = r.rest();
        let mut text = if header.xid == -1 {
            format!("event zxid {}", header.zxid)
        } else {
            format!("reply xid {} zxid {} err {}", header.xid, header.zxid, header.err)
        };
        if let (true, Some(op)) = (header.xid != -1, op) {
            *self.answers.entry((op, header.err)).or_default() += 1;
        }
        let decoded = match (header.xid, op) {
            (-1, _) => event(&mut r),
            (_, Some(op)) if header.err == 0 => self.body(op, &mut r),
            // A multiRead that fails while it runs brings what it had gathered.
            (_, Some(op)) if op == OpCode::MultiRead.code() && !body.is_empty() => {
                self.multi(&mut r)
            }
            _ => Ok(String::new()),
        };
        match decoded {
            Ok(decoded) => {
                let _ = write!(text, " {decoded}");
                if !r.is_empty() {
                    let _ = write!(text, " and bytes {}", hex(r.rest()));
                }
            }
            Err(error) => {
                let _ = write!(text, " undecodable ({error}): {}", hex(body));
            }
        }
        text.trim_end().to_string()
    }

    fn body(&mut self, op: i32, r: &mut Reader<'_>) -> Result<String> {
        use OpCode::*;
        let Some(op) = OpCode::from_code(op) else {
            return Ok(String::new());
        };
        Ok(match op {
            Create => self.created_path(r)?,
            Create2 | CreateContainer | CreateTtl => {
                format!("{} {}", self.created_path(r)?, self.stat(r)?)
            }
            Exists | SetData | SetAcl => self.stat(r)?,
            GetData | Reconfig => format!("{} {}", buffer(r)?, self.stat(r)?),
            GetAcl => format!("{} {}", acl(r)?, self.stat(r)?),
            GetChildren => self.names(r)?,
            GetChildren2 => format!("{} {}", self.names(r)?, self.stat(r)?),
            GetEphemerals => self.names(r)?,
            Sync => buffer(r)?,
            GetAllChildrenNumber | AddWatch => r.int()?.to_string(),
            WhoAmI => who_am_i(r)?,
            Sasl => buffer(r)?,
            Multi | MultiRead => self.multi(r)?,
            _ => String::new(),
        })
    }

    fn created_path(&mut self, r: &mut Reader<'_>) -> Result<String> {
        let path = r.ustring()?;
        if let Some(path) = path {
            self.created.push(path.to_vec());
        }
        Ok(text(path))
    }

    fn names(&mut self, r: &mut Reader<'_>) -> Result<String> {
        let Some(count) = r.vector()? else {
            return Ok("null".into());
        };
        self.children.clear();
        for _ in 0..count {
            self.children.push(r.ustring()?.unwrap_or_default().to_vec());
        }
        self.children.sort();
        let names: Vec<String> = self.children.iter().map(|name| text(Some(name))).collect();
        Ok(format!("[{}]", names.join(", ")))
    }

    fn multi(&mut self, r: &mut Reader<'_>) -> Result<String> {
        let mut out = String::new();
        loop {
            let header = MultiHeader::decode(r)?;
            let _ = write!(out, "({} {} {}", header.op, header.done, header.err);
            if header.done {
                out.push(')');
                return Ok(out);
            }
            let result = match header.op {
                -1 => format!("error {}", r.int()?),
                // A delete and a check have no result.
                2 | 13 => String::new(),
                op => self.body(op, r)?,
            };
            let _ = write!(out, " {result}) ");
        }
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".into(),
        Some(bytes) if bytes.len() > 300 => {
            let sum = bytes.iter().fold(0u64, |sum, b| sum.wrapping_mul(31) + u64::from(*b));
            format!("{} bytes, sum {sum:x}", bytes.len())
        }
        Some(bytes) => format!("{:?}", bytes.escape_ascii().to_string()),
    }
}

fn buffer(r: &mut Reader<'_>) -> Result<String> {
    Ok(text(r.buffer()?))
}

fn event(r: &mut Reader<'_>) -> Result<String> {
    Ok(format!("type {} state {} path {}", r.int()?, r.int()?, buffer(r)?))
}

/// The entries in their order, except that neighbours made by expanding `auth` (digest, equal permissions) are
/// sorted: the order of a connection's identities is nobody's promise.
fn acl(r: &mut Reader<'_>) -> Result<String> {
    let count = r.vector()?.unwrap_or(-1);
    let mut runs: Vec<(i32, Vec<String>)> = Vec::new();
    for _ in 0..count {
        let entry = AclEntry::decode(r)?;
        let shown = format!("{}:{}:{}", entry.perms, text(entry.scheme), text(entry.id));
        let digest = entry.scheme == Some(b"digest");
        match runs.last_mut() {
            Some((perms, run)) if digest && *perms == entry.perms && run[0].contains("digest") => {
                run.push(shown);
            }
            _ => runs.push((entry.perms, vec![shown])),
        }
    }
    let entries: Vec<String> = runs
        .into_iter()
        .flat_map(|(_, mut run)| {
            run.sort();
            run
        })
        .collect();
    Ok(format!("acl {count} [{}]", entries.join(", ")))
}

fn who_am_i(r: &mut Reader<'_>) -> Result<String> {
    let count = r.vector()?.unwrap_or(-1);
    let mut users = Vec::new();
    for _ in 0..count {
        users.push(format!("{}:{}", buffer(r)?, buffer(r)?));
    }
    users.sort();
    Ok(format!("{count} [{}]", users.join(", ")))
}
