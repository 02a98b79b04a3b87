//! addWatch, checkWatches, removeWatches, setWatches and setWatches2. Reference: data-model 9.

use std::borrow::Cow;

use super::Shard;
use super::input::count_sent;
use super::reads::Answer;
use crate::base::Zxid;
use crate::base::slab::Key;
use crate::tree::View;
use crate::watch::{NULL_PATH, WatchKind};
use crate::wire::reply::encode_watch_event;
use crate::wire::request::{PathList, PathModeRequest, SetWatchesRequest};
use crate::wire::{ErrorCode, EventType, JuteWrite, OpCode, Reader, java_text};

/// What becomes of one path of a setWatches.
enum Replay<'a> {
    Fire(EventType, &'a [u8]),
    Register(Option<&'a [u8]>, WatchKind),
}

/// The key of a path in the watch table.
pub(super) fn watch_key(path: Option<&[u8]>) -> Cow<'_, [u8]> {
    path.map_or(Cow::Borrowed(NULL_PATH), java_text)
}

impl Shard {
    /// No check of any kind: the node need not exist, the path need not be valid.
    pub(super) fn add_watch<'b>(&mut self, body: &'b [u8], out: &mut Vec<u8>) -> Answer<'b> {
        let Ok(request) = PathModeRequest::decode(&mut Reader::new(body)) else {
            return Answer::refused(ErrorCode::MarshallingError);
        };
        let kind = match request.mode {
            0 => WatchKind::Persistent,
            1 => WatchKind::PersistentRecursive,
            _ => return Answer::refused(ErrorCode::MarshallingError),
        };
        out.put_int(0);
        Answer { watch: Some((request.path, kind)), ..Answer::ok() }
    }

    /// What has happened up to `zxid` has used its watches up.
    pub(super) fn check_watches<'b>(&mut self, key: Key, zxid: Zxid, body: &[u8]) -> Answer<'b> {
        let Ok(request) = PathModeRequest::decode(&mut Reader::new(body)) else {
            return Answer::refused(ErrorCode::MarshallingError);
        };
        self.drain_to(zxid);
        match self.watches.check(&watch_key(request.path), key, request.mode) {
            Ok(()) => Answer::ok(),
            Err(code) => Answer::refused(code),
        }
    }

    /// What has happened up to `zxid` still fires before the watch goes.
    pub(super) fn remove_watches<'b>(&mut self, key: Key, zxid: Zxid, body: &[u8]) -> Answer<'b> {
        let Ok(request) = PathModeRequest::decode(&mut Reader::new(body)) else {
            return Answer::refused(ErrorCode::MarshallingError);
        };
        self.drain_to(zxid);
        match self.watches.remove(&watch_key(request.path), key, request.mode) {
            Ok(()) => Answer::ok(),
            Err(code) => Answer::refused(code),
        }
    }

    /// Replays a reconnecting client's watches: those that missed a change fire, the rest are registered.
    pub(super) fn set_watches<'b>(
        &mut self,
        key: Key,
        op: OpCode,
        body: &'b [u8],
    ) -> (Zxid, Answer<'b>) {
        let Ok(request) = SetWatchesRequest::decode(op, &mut Reader::new(body)) else {
            let zxid = self.links.tree.applied();
            return (zxid, Answer::refused(ErrorCode::MarshallingError));
        };
        let (zxid, (replays, complete)) = self.links.tree.read(|view| replay(view, &request));
        self.drain_to(zxid);
        if self.conns.get(key).is_none_or(|conn| conn.is_closing()) {
            // What was delivered just now closed it and forgot its watches; nobody would forget new ones.
            return (zxid, Answer::ok());
        }
        for replay in replays {
            match replay {
                Replay::Register(path, kind) => self.watches.add(&watch_key(path), key, kind),
                Replay::Fire(event, path) => {
                    let Some(conn) = self.conns.get_mut(key) else { continue };
                    let before = conn.output.len();
                    encode_watch_event(&mut conn.output, event, &java_text(path), Zxid::NONE);
                    let frame_bytes = conn.output.len() - before;
                    self.counts.watch_bytes += (frame_bytes - 4) as u64;
                    self.counts.sent(frame_bytes);
                    count_sent(conn, &self.links.counters);
                    Self::mark_dirty(&mut self.dirty, key, conn);
                }
            }
        }
        let answer =
            if complete { Answer::ok() } else { Answer::refused(ErrorCode::MarshallingError) };
        (zxid, answer)
    }
}

/// The table of data-model 9.5. False when a null list ended it, or a null path that had to be looked up: what came
/// before stays.
fn replay<'a>(view: View<'_>, request: &SetWatchesRequest<'a>) -> (Vec<Replay<'a>>, bool) {
    let since = request.relative_zxid;
    let mut replays = Vec::new();
    let data = |path: Option<&'a [u8]>| {
        let path = path?;
        Some(match view.lookup(path).map(|node| node.stat()) {
            None => Replay::Fire(EventType::NodeDeleted, path),
            Some(stat) if stat.mzxid > since => Replay::Fire(EventType::NodeDataChanged, path),
            Some(_) => Replay::Register(Some(path), WatchKind::Data),
        })
    };
    let exist = |path: Option<&'a [u8]>| {
        let path = path?;
        Some(match view.lookup(path) {
            None => Replay::Register(Some(path), WatchKind::Data),
            Some(_) => Replay::Fire(EventType::NodeCreated, path),
        })
    };
    let child = |path: Option<&'a [u8]>| {
        let path = path?;
        Some(match view.lookup(path).map(|node| node.stat()) {
            None => Replay::Fire(EventType::NodeDeleted, path),
            Some(stat) if stat.pzxid > since => Replay::Fire(EventType::NodeChildrenChanged, path),
            Some(_) => Replay::Register(Some(path), WatchKind::Child),
        })
    };
    let persistent = |path| Some(Replay::Register(path, WatchKind::Persistent));
    let recursive = |path| Some(Replay::Register(path, WatchKind::PersistentRecursive));
    let complete = extend(&mut replays, request.data, data)
        && extend(&mut replays, request.exist, exist)
        && extend(&mut replays, request.child, child)
        && extend(&mut replays, request.persistent, persistent)
        && extend(&mut replays, request.persistent_recursive, recursive);
    (replays, complete)
}

fn extend<'a>(
    replays: &mut Vec<Replay<'a>>,
    list: Option<PathList<'a>>,
    each: impl Fn(Option<&'a [u8]>) -> Option<Replay<'a>>,
) -> bool {
    let Some(list) = list else { return false };
    for path in list.iter() {
        let Some(replay) = each(path) else { return false };
        replays.push(replay);
    }
    true
}
