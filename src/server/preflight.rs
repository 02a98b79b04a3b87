//! What the machine must offer before anything starts, and the exact command that mends what is missing.

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe, opcode};

/// What was found, for the log.
#[derive(Clone, Debug)]
pub struct Machine {
    pub kernel: String,
    pub cpus: usize,
    pub memlock_bytes: u64,
    pub nofile: u64,
    pub ring_features: String,
}

/// What is missing.
#[derive(Debug)]
pub struct Missing {
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. To mend it: {}", self.what, self.remedy)
    }
}

/// Each client core's executor pins its rings and its registered memory.
const MEMLOCK_PER_CORE: u64 = 512 << 10;

/// Looks at the kernel, the limits and io_uring. `client_cores` decides how much locked memory is needed.
pub fn check(client_cores: usize, io_memory_bytes: usize) -> Result<Machine, Missing> {
    let memlock_bytes = raise(libc::RLIMIT_MEMLOCK);
    let nofile = raise(libc::RLIMIT_NOFILE);
    let ring_features = probe_ring()?;
    let needed = client_cores as u64 * (MEMLOCK_PER_CORE + io_memory_bytes as u64);
    // Since 5.12 rings are accounted to the memory cgroup; registered memory still counts against memlock.
    if memlock_bytes < needed && !may_lock_any() {
        let kib = needed.div_ceil(1024);
        return Err(Missing {
            what: format!(
                "{client_cores} client cores need {kib} KiB of locked memory, the limit is {} KiB",
                memlock_bytes / 1024
            ),
            remedy: format!(
                "`ulimit -l {kib}` (or `LimitMEMLOCK=infinity` in the systemd unit, or \
                 `--ulimit memlock=-1` for a container); or fewer cores: ringkeeper.clientCores=1"
            ),
        });
    }
    Ok(Machine { kernel: kernel_release(), cpus: cpus(), memlock_bytes, nofile, ring_features })
}

/// CPUs this process may run on.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

/// Those CPUs by number, lowest first.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: the set is plain bits, initialised to zero and filled by the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return Vec::new();
        }
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect()
    }
}

fn probe_ring() -> Result<String, Missing> {
    let ring = IoUring::new(8).map_err(|error| refused(&error))?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| refused(&error))?;
    let needed = [
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("accept", opcode::Accept::CODE),
        ("poll", opcode::PollAdd::CODE),
        ("timeout", opcode::Timeout::CODE),
    ];
    for (name, code) in needed {
        if !probe.is_supported(code) {
            return Err(Missing {
                what: format!("the kernel's io_uring does not offer `{name}`"),
                remedy: "run a kernel of version 5.15 or later".into(),
            });
        }
    }
    let params = ring.params();
    let features = [
        ("nodrop", params.is_feature_nodrop()),
        ("ext_arg", params.is_feature_ext_arg()),
        ("fast_poll", params.is_feature_fast_poll()),
        ("single_mmap", params.is_feature_single_mmap()),
        ("submit_stable", params.is_feature_submit_stable()),
    ];
    if !params.is_feature_ext_arg() {
        return Err(Missing {
            what: "the kernel's io_uring cannot wait with a timeout (ext_arg)".into(),
            remedy: "run a kernel of version 5.15 or later".into(),
        });
    }
    let has: Vec<_> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    Ok(has.join(" "))
}

fn refused(error: &io::Error) -> Missing {
    let (why, remedy) = match error.raw_os_error() {
        Some(libc::ENOSYS) => (
            "the kernel has no io_uring",
            "run a kernel of version 5.15 or later, built with CONFIG_IO_URING",
        ),
        Some(libc::EPERM) => (
            "io_uring is forbidden here",
            "`sysctl -w kernel.io_uring_disabled=0`; in a container also allow the system calls \
             io_uring_setup, io_uring_enter and io_uring_register (for example \
             `--security-opt seccomp=unconfined`)",
        ),
        Some(libc::ENOMEM) => (
            "no locked memory is left for a ring",
            "`ulimit -l unlimited`, or `LimitMEMLOCK=infinity` in the systemd unit",
        ),
        _ => ("a ring cannot be set up", "see the error"),
    };
    Missing { what: format!("{why} ({error})"), remedy: remedy.into() }
}

/// Raises the soft limit to the hard one; answers what is in force.
fn raise(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for both calls.
    unsafe {
        if libc::getrlimit(resource, &mut limit) != 0 {
            return 0;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(resource, &raised) == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

/// CAP_IPC_LOCK lifts the limit; it is the bit 14 of the effective set.
fn may_lock_any() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    bits & (1 << 14) != 0
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_remedy() {
        for code in [libc::ENOSYS, libc::EPERM, libc::ENOMEM, libc::EIO] {
            let missing = refused(&io::Error::from_raw_os_error(code));
            assert!(!missing.remedy.is_empty() && missing.to_string().contains("To mend it"));
        }
    }
}
