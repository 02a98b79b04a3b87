//! A file system in memory, mounted by FUSE, that writes down in order what is written, named and synced, and how far
//! the clients were told to be just before each sync took effect.
//!
//! Every sync is held for a moment before it counts: who answers without waiting for it is caught.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::journal::{Change, Event, Journal};
use crate::load::Shared;

const ROOT: u64 = 1;
/// Nothing may be answered from a cache.
const NO_CACHE: Duration = Duration::ZERO;
/// How long a sync is held before it counts; long enough for an answer to reach a client.
const HOLD: Duration = Duration::from_millis(2);
/// Free space it claims to have, in blocks of 4 KiB.
const FREE_BLOCKS: u64 = 4 << 20;

#[derive(Default)]
struct State {
    /// Content; `None` for directories.
    inodes: BTreeMap<u64, Option<Vec<u8>>>,
    names: BTreeMap<(u64, String), u64>,
    journal: Journal,
}

/// The disk of a server under test.
#[derive(Clone)]
pub struct Witness {
    state: Arc<Mutex<State>>,
    load: Arc<Shared>,
}

impl Witness {
    pub fn new(load: Arc<Shared>) -> Witness {
        let mut state = State::default();
        state.inodes.insert(ROOT, None);
        Witness { state: Arc::new(Mutex::new(state)), load }
    }

    /// Mounts it; unmounted when the session is dropped. Fails without /dev/fuse and without the right to mount.
    pub fn mount(&self, at: &Path) -> std::io::Result<BackgroundSession> {
        let mut options = Config::default();
        options.mount_options = vec![MountOption::FSName("witness".into())];
        fuser::spawn_mount(self.clone(), at, &options)
    }

    pub fn syncs(&self) -> usize {
        self.state.lock().expect("no panic under the lock").journal.syncs()
    }

    pub fn journal(&self) -> Journal {
        std::mem::take(&mut self.state.lock().expect("no panic under the lock").journal)
    }

    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().expect("no panic under the lock"))
    }

    /// The sync counts from here on: not before what the clients have been told was written down.
    fn count_sync(&self, change: Change) {
        std::thread::sleep(HOLD);
        let told = self.load.sample();
        self.with(|state| state.journal.push(Event { change, told: Some(told) }));
    }

    fn sync(&self, change: Change, reply: ReplyEmpty) {
        self.count_sync(change);
        reply.ok();
    }
}

impl State {
    fn note(&mut self, change: Change) {
        self.journal.push(Event { change, told: None });
    }

    fn attr(&self, ino: u64) -> Option<FileAttr> {
        let content = self.inodes.get(&ino)?;
        let size = content.as_ref().map_or(0, Vec::len) as u64;
        let kind = if content.is_none() { FileType::Directory } else { FileType::RegularFile };
        let epoch = SystemTime::UNIX_EPOCH;
        Some(FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            crtime: epoch,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn make(&mut self, dir: u64, name: &OsStr, content: Option<Vec<u8>>) -> FileAttr {
        let ino = self.inodes.keys().next_back().map_or(ROOT, |last| last + 1);
        let name = name.to_string_lossy().into_owned();
        self.note(Change::Create { dir, name: name.clone(), ino, is_dir: content.is_none() });
        self.inodes.insert(ino, content);
        self.names.insert((dir, name), ino);
        self.attr(ino).expect("just made")
    }

    fn remove(&mut self, dir: u64, name: &OsStr) -> bool {
        let name = name.to_string_lossy().into_owned();
        let there = self.names.remove(&(dir, name.clone())).is_some();
        if there {
            self.note(Change::Remove { dir, name });
        }
        there
    }

    fn rename(&mut self, from: (u64, String), to: (u64, String)) -> bool {
        let Some(ino) = self.names.remove(&from) else { return false };
        self.names.insert(to.clone(), ino);
        self.note(Change::Rename { from, to });
        true
    }

    fn write(&mut self, ino: u64, at: usize, bytes: &[u8]) -> bool {
        let Some(Some(content)) = self.inodes.get_mut(&ino) else { return false };
        let end = at + bytes.len();
        content.resize(content.len().max(end), 0);
        content[at..end].copy_from_slice(bytes);
        self.note(Change::Write { ino, at, bytes: bytes.to_vec() });
        true
    }

    fn resize(&mut self, ino: u64, len: usize) {
        if let Some(Some(content)) = self.inodes.get_mut(&ino) {
            content.resize(len, 0);
            self.note(Change::Resize { ino, len });
        }
    }
}

fn answer(done: bool, reply: ReplyEmpty) {
    if done { reply.ok() } else { reply.error(Errno::ENOENT) }
}

impl Filesystem for Witness {
    fn lookup(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let key = (dir.0, name.to_string_lossy().into_owned());
        let attr = self.with(|state| state.names.get(&key).and_then(|&ino| state.attr(ino)));
        match attr {
            Some(attr) => reply.entry(&NO_CACHE, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|state| state.attr(ino.0)) {
            Some(attr) => reply.attr(&NO_CACHE, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let attr = self.with(|state| {
            if let Some(size) = size {
                state.resize(ino.0, size as usize);
            }
            state.attr(ino.0)
        });
        match attr {
            Some(attr) => reply.attr(&NO_CACHE, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let attr = self.with(|state| state.make(dir.0, name, None));
        reply.entry(&NO_CACHE, &attr, Generation(0));
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let attr = self.with(|state| state.make(dir.0, name, Some(Vec::new())));
        let direct = FopenFlags::FOPEN_DIRECT_IO;
        reply.created(&NO_CACHE, &attr, Generation(0), FileHandle(0), direct);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.with(|state| state.remove(dir.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        to_dir: INodeNo,
        to: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let from = (dir.0, name.to_string_lossy().into_owned());
        let to = (to_dir.0, to.to_string_lossy().into_owned());
        answer(self.with(|state| state.rename(from, to)), reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.with(|state| match state.inodes.get(&ino.0) {
            Some(Some(content)) => {
                let at = content.len().min(at as usize);
                reply.data(&content[at..content.len().min(at + size as usize)]);
            }
            _ => reply.error(Errno::ENOENT),
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if !self.with(|state| state.write(ino.0, at as usize, bytes)) {
            return reply.error(Errno::ENOENT);
        }
        // RWF_DSYNC: a write that is through only when it is synced.
        if flags.0 & libc::O_DSYNC != 0 {
            self.count_sync(Change::SyncFile { ino: ino.0 });
        }
        reply.written(bytes.len() as u32);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(Change::SyncFile { ino: ino.0 }, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(Change::SyncDir { dir: ino.0 }, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        dir: INodeNo,
        _: FileHandle,
        at: u64,
        mut reply: ReplyDirectory,
    ) {
        self.with(|state| {
            let entries = state.names.iter().filter(|((parent, _), _)| *parent == dir.0);
            for (n, ((_, name), ino)) in entries.enumerate().skip(at as usize) {
                let is_dir = state.inodes.get(ino).is_some_and(Option::is_none);
                let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
                if reply.add(INodeNo(*ino), n as u64 + 1, kind, name) {
                    break;
                }
            }
        });
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(FREE_BLOCKS, FREE_BLOCKS, FREE_BLOCKS, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
