//! Pipelined requests whose answers only have to be good: creating keys, arming watches.

use ringkeeper::wire::multi::{MultiHeader, MultiOp, encode_multi};
use ringkeeper::wire::reply::ReplyHeader;
use ringkeeper::wire::request::create_flags;
use ringkeeper::wire::{ErrorCode, OpCode, Reader};

use crate::clock::{SECOND_NS, now_ns};
use crate::error::{Error, Result};
use crate::fleet::{Arrival, Conn, Fleet, Pending};
use crate::keys::KeySpace;
use crate::mix::create;

/// Without any answer for this long a server is taken for dead.
const SILENCE_LIMIT_NS: u64 = 60 * SECOND_NS;

/// Takes the reply for the oldest pending request of `conn`; `None` for a watch event.
pub fn match_reply<'a>(
    conn: &mut Conn,
    frame: &'a [u8],
) -> Result<Option<(Pending, ReplyHeader, Reader<'a>)>> {
    let mut reader = Reader::new(frame);
    let header = ReplyHeader::decode(&mut reader)
        .map_err(|error| Error::Protocol(format!("reply header: {error}")))?;
    if header.xid == -1 {
        return Ok(None);
    }
    let pending = conn.pending.pop_front();
    let pending = pending.ok_or_else(|| Error::Protocol("an answer nobody asked for".into()))?;
    if pending.xid != header.xid {
        let text = format!("xid {} where {} was due", header.xid, pending.xid);
        return Err(Error::Protocol(text));
    }
    Ok(Some((pending, header, reader)))
}

/// Keeps `in_flight` requests on every connection until `next` queues no more and all answers are
/// in.
pub fn pump(
    fleet: &mut Fleet,
    in_flight: usize,
    mut next: impl FnMut(&mut Conn) -> bool,
    mut check: impl FnMut(ReplyHeader, Reader<'_>) -> Result<()>,
) -> Result<()> {
    let mut outstanding = 0usize;
    let mut more = true;
    for conn in fleet.conns.iter_mut().flatten() {
        while more && conn.pending.len() < in_flight {
            more = next(conn);
            outstanding += usize::from(more);
        }
    }
    fleet.flush_all()?;
    let mut heard_ns = now_ns();
    while outstanding > 0 {
        fleet.turn(SECOND_NS / 10, |conn, Arrival { frame, now_ns, .. }| {
            heard_ns = now_ns;
            let Some((_, header, reader)) = match_reply(conn, frame)? else {
                return Ok(());
            };
            outstanding -= 1;
            check(header, reader)?;
            if more {
                more = next(conn);
                outstanding += usize::from(more);
            }
            Ok(())
        })?;
        if now_ns() > heard_ns + SILENCE_LIMIT_NS {
            return Err(Error::TimedOut("waiting for answers"));
        }
    }
    Ok(())
}

/// Accepts success, and "exists already" so that a prepared server can be used again.
fn created(header: ReplyHeader) -> Result<()> {
    if header.err == 0 || header.err == ErrorCode::NodeExists.code() {
        return Ok(());
    }
    Err(Error::Protocol(format!("create answered {}", header.err)))
}

fn create_one(fleet: &mut Fleet, path: &[u8]) -> Result<()> {
    let mut once = true;
    pump(
        fleet,
        1,
        |conn| {
            let queue = std::mem::take(&mut once);
            if queue {
                let body = create(path, b"", create_flags::PERSISTENT);
                conn.request(OpCode::Create, 0, 0, |out| body.encode(out));
            }
            queue
        },
        |header, _| created(header),
    )
}

/// Creates the root, the directories and every key, `batch` keys to a multi (1: plain creates).
pub fn create_keys(
    fleet: &mut Fleet,
    keys: &KeySpace,
    value: &[u8],
    in_flight: usize,
    batch: u64,
) -> Result<()> {
    let mut parent = String::new();
    for part in keys.root.split('/').filter(|part| !part.is_empty()) {
        parent = format!("{parent}/{part}");
        create_one(fleet, parent.as_bytes())?;
    }
    create_one(fleet, format!("{}/new", keys.root).as_bytes())?;
    let (mut path, mut directory) = (Vec::new(), 0);
    let queue_directory = |conn: &mut Conn| {
        if directory == keys.directories() {
            return false;
        }
        keys.write_directory(directory, &mut path);
        directory += 1;
        let body = create(&path, b"", create_flags::PERSISTENT);
        conn.request(OpCode::Create, 0, 0, |out| body.encode(out));
        true
    };
    pump(fleet, in_flight, queue_directory, |header, _| created(header))?;
    if batch > 1 {
        return create_batches(fleet, keys, value, in_flight, batch);
    }
    let (mut path, mut key) = (Vec::new(), 0);
    let queue_key = |conn: &mut Conn| {
        if key == keys.count {
            return false;
        }
        keys.write_key(key, &mut path);
        key += 1;
        let body = create(&path, value, create_flags::PERSISTENT);
        conn.request(OpCode::Create, 0, 0, |out| body.encode(out));
        true
    };
    pump(fleet, in_flight, queue_key, |header, _| created(header))
}

fn create_batches(
    fleet: &mut Fleet,
    keys: &KeySpace,
    value: &[u8],
    in_flight: usize,
    batch: u64,
) -> Result<()> {
    let mut key = 0;
    let queue_batch = |conn: &mut Conn| {
        if key == keys.count {
            return false;
        }
        let end = keys.count.min(key + batch);
        let paths: Vec<Vec<u8>> = (key..end)
            .map(|key| {
                let mut path = Vec::new();
                keys.write_key(key, &mut path);
                path
            })
            .collect();
        key = end;
        let ops: Vec<MultiOp<'_>> = paths
            .iter()
            .map(|path| MultiOp::Create(create(path, value, create_flags::PERSISTENT)))
            .collect();
        conn.request(OpCode::Multi, 0, 0, |out| encode_multi(&ops, out));
        true
    };
    pump(fleet, in_flight, queue_batch, |header, mut body| {
        created(header)?;
        let first = MultiHeader::decode(&mut body)
            .map_err(|error| Error::Protocol(format!("multi response: {error}")))?;
        // A failed multi is a success on the outside; it fails as a whole, so one result tells.
        match first.err {
            0 => Ok(()),
            err => Err(Error::Protocol(format!("multi create answered {err}"))),
        }
    })
}
