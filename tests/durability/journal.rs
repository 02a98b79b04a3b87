//! What happened on a disk, and what a power failure may leave of it.
//!
//! The rules are those of POSIX and no friendlier: a file's bytes are durable once the file is synced after they were
//! written, a name once its directory is; what is not synced is there, is not there, or is there in part (sectors of
//! data, a first part of the changes of names).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::{fs, io};

use ringkeeper::base::prng::Prng;

use crate::load::Told;

const ROOT: u64 = 1;
/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub enum Change {
    Create { dir: u64, name: String, ino: u64, is_dir: bool },
    Remove { dir: u64, name: String },
    Rename { from: (u64, String), to: (u64, String) },
    Write { ino: u64, at: usize, bytes: Vec<u8> },
    Resize { ino: u64, len: usize },
    SyncFile { ino: u64 },
    SyncDir { dir: u64 },
}

#[derive(Clone, Debug)]
pub struct Event {
    pub change: Change,
    /// How far clients had been told to be just before a sync counted; `None` for other changes.
    pub told: Option<Told>,
}

#[derive(Default)]
pub struct Journal {
    events: Vec<Event>,
    syncs: usize,
}

impl Journal {
    pub fn push(&mut self, event: Event) {
        self.syncs += usize::from(event.told.is_some());
        self.events.push(event);
    }

    pub fn syncs(&self) -> usize {
        self.syncs
    }
}

/// How a disk lies, to see whether that is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    None,
    /// Syncs of files do nothing, every so many.
    File(usize),
    /// Syncs of directories do nothing.
    Dir,
}

/// How much of what is not synced stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsynced {
    Absent,
    Present,
    Torn,
}

#[derive(Default)]
struct Inode {
    is_dir: bool,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Moves with `durable`: a file that has not changed is not written again.
    version: u64,
}

/// The disk at one moment of the journal.
#[derive(Default)]
struct Disk {
    inodes: HashMap<u64, Inode>,
    names: BTreeMap<(u64, String), u64>,
    pending_names: Vec<Change>,
    synced: usize,
}

fn apply_data(content: &mut Vec<u8>, change: &Change, mut keep: impl FnMut() -> bool) {
    match change {
        Change::Write { at, bytes, .. } => {
            for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                let start = at + n * SECTOR;
                if keep() {
                    content.resize(content.len().max(start + sector.len()), 0);
                    content[start..start + sector.len()].copy_from_slice(sector);
                }
            }
        }
        Change::Resize { len, .. } if keep() => content.resize(*len, 0),
        _ => {}
    }
}

fn apply_name(names: &mut BTreeMap<(u64, String), u64>, change: &Change) {
    match change {
        Change::Create { dir, name, ino, .. } => drop(names.insert((*dir, name.clone()), *ino)),
        Change::Remove { dir, name } => drop(names.remove(&(*dir, name.clone()))),
        Change::Rename { from, to } => {
            if let Some(ino) = names.remove(from) {
                names.insert(to.clone(), ino);
            }
        }
        _ => {}
    }
}

impl Disk {
    fn take(&mut self, change: &Change, lie: Lie) {
        match change {
            Change::Create { ino, is_dir, .. } => {
                self.inodes.insert(*ino, Inode { is_dir: *is_dir, ..Inode::default() });
                self.pending_names.push(change.clone());
            }
            Change::Remove { .. } | Change::Rename { .. } => {
                self.pending_names.push(change.clone());
            }
            Change::Write { ino, .. } | Change::Resize { ino, .. } => {
                let inode = self.inodes.get_mut(ino).expect("a file that was created");
                inode.pending.push(change.clone());
            }
            Change::SyncFile { ino } => {
                self.synced += 1;
                if matches!(lie, Lie::File(each) if self.synced.is_multiple_of(each)) {
                    return;
                }
                let inode = self.inodes.get_mut(ino).expect("a file that was created");
                for change in std::mem::take(&mut inode.pending) {
                    apply_data(&mut inode.durable, &change, || true);
                }
                inode.version += 1;
            }
            Change::SyncDir { dir } if lie != Lie::Dir => self.sync_names(*dir),
            Change::SyncDir { .. } => {}
        }
    }

    fn sync_names(&mut self, synced: u64) {
        for change in std::mem::take(&mut self.pending_names) {
            let dir = match &change {
                Change::Create { dir, .. } | Change::Remove { dir, .. } => *dir,
                Change::Rename { to, .. } => to.0,
                _ => continue,
            };
            if dir == synced {
                apply_name(&mut self.names, &change);
            } else {
                self.pending_names.push(change);
            }
        }
    }

    /// Writes what a power failure leaves now below `target`.
    fn write_image(
        &self,
        target: &Path,
        cache: &mut Cache,
        unsynced: Unsynced,
        rng: &mut Prng,
    ) -> io::Result<()> {
        let mut names = self.names.clone();
        let kept = match unsynced {
            Unsynced::Absent => 0,
            Unsynced::Present => self.pending_names.len(),
            Unsynced::Torn => rng.below(self.pending_names.len() as u64 + 1) as usize,
        };
        for change in &self.pending_names[..kept] {
            apply_name(&mut names, change);
        }
        let mut dirs = vec![(ROOT, target.to_owned())];
        while let Some((dir, path)) = dirs.pop() {
            fs::create_dir_all(&path)?;
            for ((_, name), ino) in names.range((dir, String::new())..(dir + 1, String::new())) {
                let inode = &self.inodes[ino];
                let path = path.join(name);
                if inode.is_dir {
                    dirs.push((*ino, path));
                } else if inode.pending.is_empty() || unsynced == Unsynced::Absent {
                    cache.link(*ino, inode, &path)?;
                } else {
                    let mut content = inode.durable.clone();
                    let all = unsynced == Unsynced::Present;
                    for change in &inode.pending {
                        apply_data(&mut content, change, || all || rng.below(2) == 0);
                    }
                    write_sparse(&path, &content)?;
                }
            }
        }
        Ok(())
    }
}

/// Files of earlier images, to link to.
struct Cache {
    dir: PathBuf,
    versions: HashMap<u64, u64>,
}

impl Cache {
    fn link(&mut self, ino: u64, inode: &Inode, to: &Path) -> io::Result<()> {
        let from = self.dir.join(ino.to_string());
        if self.versions.insert(ino, inode.version) != Some(inode.version) {
            // A new file: the old one may be linked to.
            let _ = fs::remove_file(&from);
            write_sparse(&from, &inode.durable)?;
        }
        fs::hard_link(from, to)
    }
}

/// A log is mostly zeros at its end.
fn write_sparse(path: &Path, content: &[u8]) -> io::Result<()> {
    let used = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    fs::write(path, &content[..used])?;
    fs::File::options().write(true).open(path)?.set_len(content.len() as u64)
}

/// Writes the image before each sync counts, that is: all that the syncs before it made durable, and some of the rest.
/// `check` is given the image and what clients had been told by then. Returns the number of images.
pub fn for_each_image(
    journal: &Journal,
    work: &Path,
    seed: u64,
    lie: Lie,
    mut check: impl FnMut(&Path, &Told) -> Result<(), String>,
) -> Result<usize, String> {
    let cache_dir = work.join("files");
    fs::create_dir_all(&cache_dir).map_err(|error| error.to_string())?;
    let mut cache = Cache { dir: cache_dir, versions: HashMap::new() };
    let mut rng = Prng::new(seed);
    let mut disk = Disk::default();
    let mut images = 0;
    for event in &journal.events {
        if let Some(told) = &event.told {
            let kinds = [Unsynced::Absent, Unsynced::Present, Unsynced::Torn, Unsynced::Torn];
            let unsynced = kinds[rng.below(4) as usize];
            let image = work.join("image");
            let _ = fs::remove_dir_all(&image);
            disk.write_image(&image, &mut cache, unsynced, &mut rng)
                .map_err(|error| format!("an image cannot be written: {error}"))?;
            check(&image, told).map_err(|why| {
                format!("image {images} (unsynced data {unsynced:?}, {:?}): {why}", event.change)
            })?;
            images += 1;
        }
        disk.take(&event.change, lie);
    }
    Ok(images)
}
