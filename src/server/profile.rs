//! Named sets of the knobs that are this server's own. `tuning.md` says what each moves and when to
//! touch it.
//!
//! A profile gives every knob a value; each `ringkeeper.*` key overrides its one. `flushDelay` and
//! `maxBatchSize`, when written, override the profile too, and are overridden by the
//! `ringkeeper.flush.*` keys.

use crate::base::limits;

use super::config_error::Problem;
use super::config_reader::Reader;

/// The named sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProfileName {
    /// Shortest answers on a machine that has cores to spare.
    Latency,
    /// Most operations a second; single answers may wait for company.
    Throughput,
    /// The default: no waiting for company, little spinning.
    #[default]
    Balanced,
    /// One or two cores, containers, embedded servers: no pinning, no spinning, small buffers.
    Small,
}

impl ProfileName {
    pub const WORDS: &'static [(&'static str, ProfileName)] = &[
        ("latency", ProfileName::Latency),
        ("throughput", ProfileName::Throughput),
        ("balanced", ProfileName::Balanced),
        ("small", ProfileName::Small),
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ProfileName::Latency => "latency",
            ProfileName::Throughput => "throughput",
            ProfileName::Balanced => "balanced",
            ProfileName::Small => "small",
        }
    }
}

/// Where threads run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pin {
    /// The scheduler decides.
    Off,
    /// The Zab core gets the first CPU the process may use, client cores the next ones, when there
    /// are enough.
    Auto,
    /// The Zab core gets the first CPU of the list, client cores the rest in order.
    Cpus(Vec<usize>),
}

/// Every knob with its value in force. Lives as long as the server; read at start only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    pub name: ProfileName,
    /// Client cores (threads that own connections), at least 1. The Zab core comes on top.
    pub client_cores: usize,
    pub pin: Pin,
    /// Busy waiting of a client core before it parks, µs.
    pub client_spin_us: u64,
    /// Busy waiting of the Zab core before it parks, µs.
    pub zab_spin_us: u64,
    /// Entries of a client core's io_uring, a power of two.
    pub client_ring_depth: u32,
    /// Entries of the Zab core's io_uring, a power of two.
    pub zab_ring_depth: u32,
    /// Memory each client core registers for IO, bytes; counts against memlock on old kernels.
    pub client_io_memory_bytes: usize,
    /// Bytes read from one socket before others get their turn.
    pub client_read_chunk_bytes: usize,
    /// Longest run of a client core's task queue before it yields, ms.
    pub client_preempt_ms: u64,
    /// Reply bytes waiting on a connection before it is not read any more.
    pub client_out_bytes_high: usize,
    /// Reply bytes waiting on a connection at which it is closed; more than
    /// `client_out_bytes_high`.
    pub client_out_bytes_max: usize,
    /// Transactions prepared and not applied before the Zab core stops taking requests.
    pub zab_outstanding_txns_max: usize,
    /// Transactions in one flush.
    pub flush_batch_max: usize,
    /// Wait for more before a flush, µs; 0 flushes at once (what arrives meanwhile joins the next
    /// flush).
    pub flush_delay_us: u64,
    /// Log bytes in one flush.
    pub flush_bytes_max: usize,
    /// Free bytes of the log's disk below which a standalone server refuses writes; 0 refuses none.
    pub disk_reserve_bytes: u64,
    /// Accept missing zxids in a log at start. Servers before 3.9.4 could write such logs.
    pub allow_log_gaps: bool,
}

impl Profile {
    /// A set as `tuning.md` describes it, for a process that may use `cpus` CPUs.
    pub fn named(name: ProfileName, cpus: usize) -> Profile {
        // One CPU belongs to the Zab core wherever there is more than one.
        let spare = cpus.saturating_sub(1).max(1);
        let base = Profile {
            name,
            client_cores: spare,
            pin: Pin::Auto,
            client_spin_us: 0,
            zab_spin_us: 20,
            client_ring_depth: 4096,
            zab_ring_depth: 256,
            client_io_memory_bytes: 1 << 20,
            client_read_chunk_bytes: limits::SHARD_READ_CHUNK,
            client_preempt_ms: 10,
            client_out_bytes_high: limits::CONNECTION_OUT_BYTES_HIGH,
            client_out_bytes_max: limits::CONNECTION_OUT_BYTES_MAX,
            zab_outstanding_txns_max: limits::OUTSTANDING_TXNS_MAX,
            flush_batch_max: 1000,
            flush_delay_us: 0,
            flush_bytes_max: limits::LOG_BATCH_BYTES_MAX,
            disk_reserve_bytes: limits::DISK_RESERVE_BYTES,
            allow_log_gaps: false,
        };
        // Spinning steals the CPU from whoever shares it.
        let spin = |us: u64| if cpus > 2 { us } else { 0 };
        match name {
            ProfileName::Balanced => Profile { zab_spin_us: spin(20), ..base },
            ProfileName::Latency => Profile {
                client_spin_us: spin(50),
                zab_spin_us: spin(100),
                client_preempt_ms: 2,
                ..base
            },
            ProfileName::Throughput => Profile {
                zab_spin_us: spin(20),
                zab_ring_depth: 1024,
                client_io_memory_bytes: 1 << 20,
                client_preempt_ms: 20,
                flush_batch_max: 4000,
                flush_delay_us: 500,
                ..base
            },
            ProfileName::Small => Profile {
                client_cores: 1,
                pin: Pin::Off,
                zab_spin_us: 0,
                client_ring_depth: 512,
                zab_ring_depth: 128,
                client_io_memory_bytes: 1 << 20,
                client_out_bytes_high: limits::CONNECTION_OUT_BYTES_HIGH / 4,
                client_out_bytes_max: limits::CONNECTION_OUT_BYTES_MAX / 4,
                zab_outstanding_txns_max: limits::OUTSTANDING_TXNS_MAX / 8,
                flush_bytes_max: limits::LOG_BATCH_BYTES_MAX / 8,
                ..base
            },
        }
    }

    /// The profile named in the file, with the knobs written beside it.
    pub(super) fn read(
        from: &mut Reader<'_>,
        cpus: usize,
        flush_delay_ms: Option<i64>,
        batch_txns_max: Option<i64>,
    ) -> Profile {
        let name = from.one_of("ringkeeper.profile", ProfileName::WORDS, ProfileName::Balanced);
        let mut p = Profile::named(name, cpus);
        if let Some(ms) = flush_delay_ms {
            p.flush_delay_us = ms.unsigned_abs().saturating_mul(1000);
        }
        if let Some(txns) = batch_txns_max {
            p.flush_batch_max = usize::try_from(txns).unwrap_or(1).max(1);
        }
        p.client_cores = from.knob("client.cores", p.client_cores as u64, 1, 1024) as usize;
        p.client_spin_us = from.knob("client.spinUs", p.client_spin_us, 0, 1_000_000);
        p.zab_spin_us = from.knob("zab.spinUs", p.zab_spin_us, 0, 1_000_000);
        p.client_ring_depth = from.power_of_two("client.ringDepth", p.client_ring_depth);
        p.zab_ring_depth = from.power_of_two("zab.ringDepth", p.zab_ring_depth);
        p.client_io_memory_bytes =
            from.bytes("client.memoryBytes", p.client_io_memory_bytes, 1 << 16);
        p.client_read_chunk_bytes =
            from.bytes("client.readChunkBytes", p.client_read_chunk_bytes, 512);
        p.client_preempt_ms = from.knob("client.preemptMs", p.client_preempt_ms, 1, 1000);
        p.client_out_bytes_high = from.bytes("client.outBytesHigh", p.client_out_bytes_high, 4096);
        p.client_out_bytes_max = from.bytes("client.outBytesMax", p.client_out_bytes_max, 8192);
        p.zab_outstanding_txns_max =
            from.knob("zab.outstandingTxnsMax", p.zab_outstanding_txns_max as u64, 1, 1 << 24)
                as usize;
        p.flush_batch_max =
            from.knob("flush.batchMax", p.flush_batch_max as u64, 1, 1_000_000) as usize;
        p.flush_delay_us = from.knob("flush.delayUs", p.flush_delay_us, 0, 60_000_000);
        p.flush_bytes_max = from.bytes("flush.bytesMax", p.flush_bytes_max, limits::LOG_BLOCK);
        p.disk_reserve_bytes = from.knob("disk.reserveBytes", p.disk_reserve_bytes, 0, 1 << 50);
        p.allow_log_gaps = from.flag("ringkeeper.log.allowGaps", false);
        p.pin = from.pin(p.pin);
        p.check(from);
        p
    }

    fn check(&self, from: &mut Reader<'_>) {
        if self.client_out_bytes_high >= self.client_out_bytes_max {
            from.file_problem(
                format!(
                    "ringkeeper.client.outBytesHigh ({}) must be below \
                     ringkeeper.client.outBytesMax ({})",
                    self.client_out_bytes_high, self.client_out_bytes_max
                ),
                "a high mark below the maximum",
            );
        }
        if let Pin::Cpus(cpus) = &self.pin
            && cpus.len() < self.client_cores + 1
        {
            from.file_problem(
                format!("ringkeeper.pin names {} CPUs", cpus.len()),
                format!("{} (the Zab core and each client core)", self.client_cores + 1),
            );
        }
    }

    /// Key and value of every knob, for `check-config`.
    pub fn effective(&self) -> Vec<(String, String)> {
        let pin = match &self.pin {
            Pin::Off => "off".to_owned(),
            Pin::Auto => "auto".to_owned(),
            Pin::Cpus(cpus) => cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
        };
        let rows = [
            ("profile", self.name.as_str().to_owned()),
            ("pin", pin),
            ("client.cores", self.client_cores.to_string()),
            ("client.spinUs", self.client_spin_us.to_string()),
            ("client.ringDepth", self.client_ring_depth.to_string()),
            ("client.memoryBytes", self.client_io_memory_bytes.to_string()),
            ("client.readChunkBytes", self.client_read_chunk_bytes.to_string()),
            ("client.preemptMs", self.client_preempt_ms.to_string()),
            ("client.outBytesHigh", self.client_out_bytes_high.to_string()),
            ("client.outBytesMax", self.client_out_bytes_max.to_string()),
            ("zab.spinUs", self.zab_spin_us.to_string()),
            ("zab.ringDepth", self.zab_ring_depth.to_string()),
            ("zab.outstandingTxnsMax", self.zab_outstanding_txns_max.to_string()),
            ("flush.batchMax", self.flush_batch_max.to_string()),
            ("flush.delayUs", self.flush_delay_us.to_string()),
            ("flush.bytesMax", self.flush_bytes_max.to_string()),
            ("disk.reserveBytes", self.disk_reserve_bytes.to_string()),
            ("log.allowGaps", self.allow_log_gaps.to_string()),
        ];
        rows.into_iter().map(|(key, value)| (format!("ringkeeper.{key}"), value)).collect()
    }
}

impl Reader<'_> {
    fn knob(&mut self, key: &str, default: u64, min: i64, max: i64) -> u64 {
        let key = format!("ringkeeper.{key}");
        self.optional_int(&key, min, max).map_or(default, i64::unsigned_abs)
    }

    fn bytes(&mut self, key: &str, default: usize, min: usize) -> usize {
        self.knob(key, default as u64, min as i64, 1 << 40) as usize
    }

    fn power_of_two(&mut self, key: &str, default: u32) -> u32 {
        let depth = self.knob(key, u64::from(default), 8, 32_768) as u32;
        if depth.is_power_of_two() {
            return depth;
        }
        if let Some(found) = self.find(&format!("ringkeeper.{key}")) {
            self.problem(&found, "not a power of two", "a power of two from 8 to 32768");
        }
        default
    }

    fn pin(&mut self, default: Pin) -> Pin {
        let Some(found) = self.find("ringkeeper.pin") else { return default };
        match found.value.as_str() {
            "auto" => Pin::Auto,
            "off" => Pin::Off,
            list => match cpu_list(list) {
                Some(cpus) => Pin::Cpus(cpus),
                None => {
                    self.problems.push(Problem {
                        place: found.place,
                        key: found.key,
                        value: found.value,
                        text: "not a list of CPUs".to_owned(),
                        allowed: "auto, off, or a list such as 0,2-4".to_owned(),
                    });
                    default
                }
            },
        }
    }
}

/// `0,2-4` → 0 2 3 4. `None` when it is no such list, names a CPU twice or one above 4095.
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > 4095 {
            return None;
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return None;
            }
            cpus.push(cpu);
        }
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::jvm_flags::JvmFlags;
    use crate::server::properties::Properties;

    fn read(text: &str, cpus: usize) -> (Profile, Vec<Problem>) {
        let properties = Properties::parse(text.as_bytes()).expect("valid");
        let flags = JvmFlags::default();
        let mut reader = Reader::new("zoo.cfg", &properties, &flags);
        let profile = Profile::read(&mut reader, cpus, None, Some(7));
        (profile, reader.problems)
    }

    #[test]
    fn every_set_leaves_the_zab_core_a_cpu_where_it_can() {
        for (_, name) in ProfileName::WORDS {
            for cpus in [1, 2, 3, 8, 64] {
                let profile = Profile::named(*name, cpus);
                assert!(profile.client_cores >= 1 && profile.client_cores < cpus.max(2));
                assert!(profile.client_out_bytes_high < profile.client_out_bytes_max);
                let spins = profile.client_spin_us + profile.zab_spin_us > 0;
                assert!(!spins || cpus > 2, "{name:?} spins on {cpus} CPUs");
            }
        }
    }

    #[test]
    fn keys_override_the_set() {
        let (profile, problems) = read(
            "ringkeeper.profile=Latency\nringkeeper.client.cores=3\nringkeeper.pin=0,2-4\n\
             ringkeeper.flush.delayUs=250\nringkeeper.zab.ringDepth=64",
            8,
        );
        assert_eq!(problems, []);
        assert_eq!((profile.name, profile.client_cores), (ProfileName::Latency, 3));
        assert_eq!(profile.pin, Pin::Cpus(vec![0, 2, 3, 4]));
        assert_eq!((profile.flush_delay_us, profile.flush_batch_max), (250, 7));
        assert_eq!(profile.zab_ring_depth, 64);
    }

    #[test]
    fn wrong_knobs_are_errors() {
        for text in [
            "ringkeeper.profile=fast",
            "ringkeeper.client.cores=0",
            "ringkeeper.zab.ringDepth=100",
            "ringkeeper.pin=a",
            "ringkeeper.pin=3-1",
            "ringkeeper.pin=1,1",
            "ringkeeper.pin=0",
            "ringkeeper.client.outBytesHigh=99999999999",
        ] {
            assert_eq!(read(text, 8).1.len(), 1, "{text}");
        }
    }
}
