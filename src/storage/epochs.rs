//! The files `acceptedEpoch` and `currentEpoch` of a member of an ensemble (reference: disk-format 6, zab 9).
//!
//! Each holds a decimal number. Written under a passing name, flushed, renamed, and the directory flushed: an epoch that
//! was promised must never be forgotten.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::os;
use crate::base::Zxid;

pub const ACCEPTED: &str = "acceptedEpoch";
pub const CURRENT: &str = "currentEpoch";
const PASSING: &str = ".tmp";

/// What a start finds; `accepted >= current`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoredEpochs {
    pub accepted: i64,
    pub current: i64,
}

/// Writes an epoch into `dir` (`<dataDir>/version-2`), durably.
pub fn write(dir: &Path, name: &str, epoch: i64) -> io::Result<()> {
    let passing = dir.join(format!("{name}{PASSING}"));
    let mut file = File::create(&passing)?;
    file.write_all(epoch.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&passing, dir.join(name))?;
    os::sync_dir(dir)
}

fn read(path: &Path) -> io::Result<Option<i64>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let epoch = text.trim().parse();
    epoch.map(Some).map_err(|_| {
        let text = format!("{}: {text:?} is no epoch", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Reads both, by the reference's rules for a start: what is missing follows from the last transaction and is written;
/// a current epoch behind the last transaction is legal only when a crash has left the new one under its passing name.
pub fn load(dir: &Path, last: Zxid) -> io::Result<StoredEpochs> {
    let of_last = last.epoch().max(0);
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut current = match read(&dir.join(CURRENT))? {
        Some(epoch) => epoch,
        None => {
            write(dir, CURRENT, of_last)?;
            of_last
        }
    };
    if of_last > current {
        let passing = read(&dir.join(format!("{CURRENT}{PASSING}")))?;
        current = passing.filter(|epoch| *epoch >= of_last).ok_or_else(|| {
            wrong(format!(
                "the current epoch, {current:x}, is older than the last transaction, {last}: the data directory \
                 mixes files of different times; move it away and let this server synchronise anew"
            ))
        })?;
        write(dir, CURRENT, current)?;
    }
    let accepted = match read(&dir.join(ACCEPTED))? {
        Some(epoch) => epoch,
        None => {
            write(dir, ACCEPTED, of_last.max(current))?;
            of_last.max(current)
        }
    };
    if accepted < current {
        return Err(wrong(format!(
            "the accepted epoch, {accepted:x}, is less than the current epoch, {current:x}: a file of the data \
             directory was replaced; move the directory away and let this server synchronise anew"
        )));
    }
    Ok(StoredEpochs { accepted, current })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_by_the_rules() {
        let temp = super::super::test_dir();
        let dir = temp.path();
        let at = |epoch: i64| Zxid(epoch << 32 | 5);
        assert_eq!(load(dir, at(2)).unwrap(), StoredEpochs { accepted: 2, current: 2 });
        assert_eq!(fs::read(dir.join(CURRENT)).unwrap(), b"2");
        write(dir, ACCEPTED, 7).unwrap();
        assert_eq!(load(dir, at(2)).unwrap(), StoredEpochs { accepted: 7, current: 2 });
        assert!(load(dir, at(3)).is_err(), "behind the last transaction");
        fs::write(dir.join("currentEpoch.tmp"), b"3").unwrap();
        assert_eq!(load(dir, at(3)).unwrap(), StoredEpochs { accepted: 7, current: 3 });
        assert_eq!(load(dir, at(3)).unwrap().current, 3, "written for good");
        write(dir, ACCEPTED, 2).unwrap();
        assert!(load(dir, at(3)).is_err(), "accepted less than current");
        fs::write(dir.join(ACCEPTED), b"x").unwrap();
        assert!(load(dir, at(3)).unwrap_err().to_string().contains("is no epoch"));
    }
}
