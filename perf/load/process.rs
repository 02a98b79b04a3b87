//! What one process or several have used so far, from /proc: CPU time and memory.

use std::fs;

use crate::error::{Error, Result, io_at};

/// A reading at one moment.
#[derive(Clone, Copy, Default, Debug)]
pub struct Usage {
    /// User plus system time of all threads, in microseconds; the kernel counts in steps of 10 ms.
    pub cpu_us: u64,
    /// Resident memory in bytes, file mappings included.
    pub rss_bytes: u64,
    /// Resident memory in bytes, shared pages divided among their users.
    pub pss_bytes: u64,
}

/// Reads what `pid` has used; "self" for the load program, and the sum of several with commas between
/// them: an ensemble is measured as a whole.
///
/// Walks the page tables of a large process for tens of milliseconds: never while
/// latencies are being measured.
pub fn usage(pid: &str) -> Result<Usage> {
    usage_of_cpu(pid)?.with_memory(pid)
}

/// As [`usage`], without memory: cheap enough for the edges of a measured window.
pub fn usage_of_cpu(pids: &str) -> Result<Usage> {
    pids.split(',').try_fold(Usage::default(), |sum, pid| {
        Ok(Usage { cpu_us: sum.cpu_us + cpu_us_of(pid)?, ..sum })
    })
}

fn cpu_us_of(pid: &str) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(io_at(READING))?;
    let bad = || Error::Usage(format!("/proc/{pid} does not read as expected"));
    // The command's name may hold spaces and brackets: fields count from the last bracket.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(bad)?;
    let mut ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
        return Err(bad());
    };
    Ok((user + system) * 10_000)
}

impl Usage {
    /// Adds what memory each of `pids` has now.
    pub fn with_memory(self, pids: &str) -> Result<Usage> {
        pids.split(',').try_fold(self, Usage::plus_memory)
    }

    fn plus_memory(self, pid: &str) -> Result<Usage> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let rollup = read("smaps_rollup").unwrap_or_default();
        let status = read("status").map_err(io_at(READING))?;
        Ok(Usage {
            rss_bytes: self.rss_bytes + kib_line(&status, "VmRSS:") * 1024,
            pss_bytes: self.pss_bytes + kib_line(&rollup, "Pss:") * 1024,
            ..self
        })
    }
}

const READING: &str = "reading the server's /proc entry";

fn kib_line(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_itself_and_refuses_nonsense() {
        let before = usage("self").unwrap();
        assert!(before.rss_bytes > 100_000 && before.pss_bytes > 0);
        let mut sum = 0u64;
        while usage("self").unwrap().cpu_us < before.cpu_us + 20_000 {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert_eq!(kib_line("VmRSS:\t  12 kB\n", "VmRSS:"), 12);
        assert!(usage("0").is_err() && usage("self,0").is_err());
        let (one, two) = (usage("self").unwrap(), usage("self,self").unwrap());
        assert!(two.rss_bytes > one.rss_bytes * 3 / 2 && two.cpu_us >= one.cpu_us * 2);
    }
}
