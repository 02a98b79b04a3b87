//! The data directory: where files stand and how they are named (reference: disk-format 2, 9.3).

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use super::os;
use super::snapshot_codec::Compression;
use crate::base::Zxid;

/// The directory under `dataDir` and `dataLogDir`, named after the format's version.
const VERSION_DIR: &str = "version-2";
const LOG_PREFIX: &str = "log";
const SNAPSHOT_PREFIX: &str = "snapshot";
const INITIALIZE: &str = "initialize";
/// What our own passing files start with. Apache's prefixes are `log.` and `snapshot.` and it takes whatever has
/// them for real (even `snapshot.5.tmp`), so ours must start otherwise.
pub const PRIVATE_PREFIX: &str = ".ringkeeper-";

/// Where a server keeps its files. Immutable once opened; any thread may hold a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataLayout {
    /// `<dataDir>/version-2`: snapshots and epoch files.
    pub snap_dir: PathBuf,
    /// `<dataLogDir>/version-2`: log files.
    pub log_dir: PathBuf,
}

/// Why a data directory cannot be used: exit status 3.
#[derive(Debug)]
pub enum LayoutError {
    /// Missing, and creation is switched off.
    Missing {
        kind: &'static str,
        dir: PathBuf,
    },
    CannotCreate {
        kind: &'static str,
        dir: PathBuf,
        error: io::Error,
    },
    NotWritable {
        kind: &'static str,
        dir: PathBuf,
    },
    Unreadable {
        dir: PathBuf,
        error: io::Error,
    },
    SnapshotsInLogDir,
    LogsInSnapshotDir,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHECK: &str = "Check if dataLogDir and dataDir configuration is correct.";
        match self {
            LayoutError::Missing { kind, dir } => write!(
                f,
                "Missing {kind} directory {}, automatic data directory creation is disabled \
                 (zookeeper.datadir.autocreate is false). Please create this directory manually.",
                dir.display()
            ),
            LayoutError::CannotCreate { kind, dir, error } => {
                write!(f, "Unable to create {kind} directory {}: {error}", dir.display())
            }
            LayoutError::NotWritable { kind, dir } => {
                write!(f, "Cannot write to {kind} directory {}", dir.display())
            }
            LayoutError::Unreadable { dir, error } => {
                write!(f, "Cannot list directory {}: {error}", dir.display())
            }
            LayoutError::SnapshotsInLogDir => {
                write!(f, "Log directory has snapshot files. {CHECK}")
            }
            LayoutError::LogsInSnapshotDir => {
                write!(f, "Snapshot directory has log files. {CHECK}")
            }
        }
    }
}

impl std::error::Error for LayoutError {}

/// A log or snapshot file with the zxid of its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedFile {
    pub zxid: Zxid,
    pub path: PathBuf,
}

impl DataLayout {
    /// The directories below `data_dir` and, if it is another, `data_log_dir`; creates them if `autocreate`.
    ///
    /// With two directories, a log among the snapshots or the reverse is refused: the usual cause is that
    /// `dataLogDir` was set without moving the files, and half the history would be missed.
    pub fn open(
        data_dir: &Path,
        data_log_dir: Option<&Path>,
        autocreate: bool,
    ) -> Result<DataLayout, LayoutError> {
        let layout = DataLayout {
            snap_dir: data_dir.join(VERSION_DIR),
            log_dir: data_log_dir.unwrap_or(data_dir).join(VERSION_DIR),
        };
        prepare_dir(&layout.log_dir, "data", autocreate)?;
        prepare_dir(&layout.snap_dir, "snap", autocreate)?;
        if layout.log_dir != layout.snap_dir {
            if has_prefix(&layout.log_dir, SNAPSHOT_PREFIX)? {
                return Err(LayoutError::SnapshotsInLogDir);
            }
            if has_prefix(&layout.snap_dir, LOG_PREFIX)? {
                return Err(LayoutError::LogsInSnapshotDir);
            }
        }
        Ok(layout)
    }

    /// Log files, oldest first.
    pub fn logs(&self) -> io::Result<Vec<NamedFile>> {
        list(&self.log_dir, LOG_PREFIX)
    }

    /// Snapshot files, oldest first, whether they look whole or not.
    pub fn snapshots(&self) -> io::Result<Vec<NamedFile>> {
        list(&self.snap_dir, SNAPSHOT_PREFIX)
    }

    /// Where the snapshot taken at `zxid` stands.
    pub fn snapshot_path(&self, zxid: Zxid, compression: Compression) -> PathBuf {
        self.snap_dir.join(snapshot_name(zxid, compression))
    }

    /// Whether the operator marked this server as a new one. Apache looks next to the log directory only, its own
    /// script puts the mark into `dataDir`; both are looked at.
    pub fn initialize_marked(&self) -> bool {
        self.initialize_paths().any(|path| path.exists())
    }

    /// Takes the mark away; every restore does.
    pub fn remove_initialize_mark(&self) -> io::Result<()> {
        for path in self.initialize_paths() {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn initialize_paths(&self) -> impl Iterator<Item = PathBuf> {
        let parents = [self.log_dir.parent(), self.snap_dir.parent()];
        parents.into_iter().flatten().map(|parent| parent.join(INITIALIZE))
    }

    /// Removes snapshots of ours that a crash left half written. `currentEpoch.tmp` is recovery input and stays.
    pub fn remove_stale_temps(&self) -> io::Result<()> {
        let prefix = format!("{PRIVATE_PREFIX}{SNAPSHOT_PREFIX}");
        for entry in fs::read_dir(&self.snap_dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// `log.<zxid>`; `zxid` is that of the first transaction in the file.
pub fn log_name(zxid: Zxid) -> String {
    format!("{LOG_PREFIX}.{:x}", zxid.0)
}

/// `snapshot.<zxid>` and the suffix of the compression.
pub fn snapshot_name(zxid: Zxid, compression: Compression) -> String {
    format!("{SNAPSHOT_PREFIX}.{:x}{}", zxid.0, compression.suffix())
}

/// The zxid in a file name: part 0 is the prefix, part 1 signed hex, further parts do not matter. `None` for names
/// Apache ignores, above all the 16-digit ones with the top bit set.
pub fn zxid_in_name(name: &str, prefix: &str) -> Option<Zxid> {
    let mut parts = name.split('.');
    if parts.next() != Some(prefix) {
        return None;
    }
    // Java's parser takes a sign; a negative value then counts as no zxid at all.
    let zxid = i64::from_str_radix(parts.next()?, 16).ok()?;
    (zxid >= 0).then_some(Zxid(zxid))
}

fn list(dir: &Path, prefix: &str) -> io::Result<Vec<NamedFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(zxid) = entry.file_name().to_str().and_then(|name| zxid_in_name(name, prefix))
        else {
            continue;
        };
        files.push(NamedFile { zxid, path: entry.path() });
    }
    files.sort_by(|a, b| (a.zxid, &a.path).cmp(&(b.zxid, &b.path)));
    Ok(files)
}

fn has_prefix(dir: &Path, prefix: &str) -> Result<bool, LayoutError> {
    let unreadable = |error| LayoutError::Unreadable { dir: dir.to_owned(), error };
    let dotted = format!("{prefix}.");
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        if entry.map_err(unreadable)?.file_name().to_string_lossy().starts_with(&dotted) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn prepare_dir(dir: &Path, kind: &'static str, autocreate: bool) -> Result<(), LayoutError> {
    if !dir.exists() {
        if !autocreate {
            return Err(LayoutError::Missing { kind, dir: dir.to_owned() });
        }
        create_durable(dir).map_err(|error| LayoutError::CannotCreate {
            kind,
            dir: dir.to_owned(),
            error,
        })?;
    }
    if !dir.is_dir() || !os::writable(dir) {
        return Err(LayoutError::NotWritable { kind, dir: dir.to_owned() });
    }
    Ok(())
}

/// Creates `dir` and its parents and makes their names durable: a log file in a directory that a power loss takes
/// away was not durable either.
fn create_durable(dir: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = dir;
    while !at.exists() {
        missing.push(at);
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent,
            _ => break,
        }
    }
    for path in missing.iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => os::sync_dir(parent)?,
            _ => os::sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_as_java_parses_them() {
        let cases = [
            ("log.5", Some(5)),
            ("log.100000001", Some(0x1_0000_0001)),
            ("log.5.bak", Some(5)),
            ("log.7fffffffffffffff", Some(i64::MAX)),
            ("log.8000000000000000", None),
            ("log.-1", None),
            ("log.readme", None),
            ("log", None),
            ("log.", None),
            ("logs.5", None),
            (".ringkeeper-spare", None),
        ];
        for (name, zxid) in cases {
            assert_eq!(zxid_in_name(name, LOG_PREFIX), zxid.map(Zxid), "{name}");
        }
        assert_eq!(zxid_in_name("snapshot.5.gz", SNAPSHOT_PREFIX), Some(Zxid(5)));
        assert_eq!(log_name(Zxid(0xab)), "log.ab");
        assert_eq!(snapshot_name(Zxid(0), Compression::Gzip), "snapshot.0.gz");
    }

    #[test]
    fn directories_are_created_or_refused() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("a/b");
        let missing = DataLayout::open(&data, None, false).unwrap_err();
        assert!(matches!(missing, LayoutError::Missing { .. }), "{missing}");
        let layout = DataLayout::open(&data, None, true).unwrap();
        assert!(layout.snap_dir.is_dir());
        DataLayout::open(&data, None, false).unwrap();
    }

    #[test]
    fn mixed_up_directories_are_refused_only_when_they_differ() {
        let temp = tempfile::tempdir().unwrap();
        let (data, logs) = (temp.path().join("data"), temp.path().join("logs"));
        let layout = DataLayout::open(&data, Some(&logs), true).unwrap();
        fs::write(layout.snap_dir.join("log.1"), b"").unwrap();
        let mixed = DataLayout::open(&data, Some(&logs), true).unwrap_err();
        assert!(matches!(mixed, LayoutError::LogsInSnapshotDir), "{mixed}");
        DataLayout::open(&data, None, true).unwrap();
        fs::remove_file(layout.snap_dir.join("log.1")).unwrap();
        fs::write(layout.log_dir.join("snapshot.junk"), b"").unwrap();
        let mixed = DataLayout::open(&data, Some(&logs), true).unwrap_err();
        assert!(matches!(mixed, LayoutError::SnapshotsInLogDir), "{mixed}");
    }

    #[test]
    fn initialize_mark_is_seen_in_both_places_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let (data, logs) = (temp.path().join("data"), temp.path().join("logs"));
        let layout = DataLayout::open(&data, Some(&logs), true).unwrap();
        assert!(!layout.initialize_marked());
        for dir in [&data, &logs] {
            fs::write(dir.join("initialize"), b"").unwrap();
            assert!(layout.initialize_marked());
            layout.remove_initialize_mark().unwrap();
            assert!(!layout.initialize_marked());
        }
    }

    #[test]
    fn only_our_half_written_snapshots_are_swept() {
        let temp = tempfile::tempdir().unwrap();
        let layout = DataLayout::open(temp.path(), None, true).unwrap();
        for name in [".ringkeeper-snapshot.5", "currentEpoch.tmp", "snapshot.5", "log.6"] {
            fs::write(layout.snap_dir.join(name), b"").unwrap();
        }
        layout.remove_stale_temps().unwrap();
        assert!(!layout.snap_dir.join(".ringkeeper-snapshot.5").exists());
        assert!(layout.snap_dir.join("currentEpoch.tmp").exists());
        assert_eq!((layout.logs().unwrap().len(), layout.snapshots().unwrap().len()), (1, 1));
    }
}
