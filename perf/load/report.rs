//! Results: JSON on stdout for programs, one line per figure on stderr for people.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::process::Usage;

/// Latencies in nanoseconds at three significant digits, up to a minute.
pub type Latencies = Histogram<u64>;

const LATENCY_MAX_NS: u64 = 60_000_000_000;

pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are constant and valid")
}

/// Nanoseconds a histogram can hold.
pub fn clamp_latency(ns: u64) -> u64 {
    ns.clamp(1, LATENCY_MAX_NS)
}

/// A flat or nested JSON object being written; names and texts are plain ASCII of our own.
#[derive(Default)]
pub struct Object {
    json: String,
    lines: String,
}

impl Object {
    fn name(&mut self, name: &str) {
        let comma = if self.json.is_empty() { "" } else { "," };
        let _ = write!(self.json, "{comma}\"{name}\":");
    }

    pub fn integer(&mut self, name: &str, value: u64) {
        self.name(name);
        let _ = write!(self.json, "{value}");
        let _ = writeln!(self.lines, "{name:>28} {value}");
    }

    pub fn number(&mut self, name: &str, value: f64) {
        self.name(name);
        let value = if value.is_finite() { value } else { 0.0 };
        let _ = write!(self.json, "{value:.3}");
        let _ = writeln!(self.lines, "{name:>28} {value:.3}");
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        let safe: String = value.chars().filter(|c| !matches!(c, '"' | '\\' | '\n')).collect();
        let _ = write!(self.json, "\"{safe}\"");
        let _ = writeln!(self.lines, "{name:>28} {safe}");
    }

    /// Percentiles in microseconds.
    pub fn latency(&mut self, name: &str, histogram: &Latencies) {
        let mut inner = Object::default();
        let quantiles =
            [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)];
        for (label, quantile) in quantiles {
            inner.number(label, histogram.value_at_quantile(quantile) as f64 / 1000.0);
        }
        inner.number("min", histogram.min() as f64 / 1000.0);
        inner.number("mean", histogram.mean() / 1000.0);
        inner.number("max", histogram.max() as f64 / 1000.0);
        inner.integer("count", histogram.len());
        self.name(name);
        let _ = write!(self.json, "{{{}}}", inner.json);
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        let _ = writeln!(
            self.lines,
            "{name:>28} p50 {:.1} p99 {:.1} p99.9 {:.1} max {:.1}",
            at(0.5),
            at(0.99),
            at(0.999),
            histogram.max() as f64 / 1000.0
        );
    }

    /// CPU and memory of a process between two readings, per operation if `ops` is not 0.
    pub fn usage(&mut self, who: &str, before: Usage, after: Usage, seconds: f64, ops: u64) {
        let cpu_us = after.cpu_us.saturating_sub(before.cpu_us);
        self.integer(&format!("{who}_cpu_us"), cpu_us);
        self.number(&format!("{who}_cpu_cores"), cpu_us as f64 / 1e6 / seconds);
        if ops > 0 {
            self.number(&format!("{who}_cpu_us_per_op"), cpu_us as f64 / ops as f64);
        }
        self.integer(&format!("{who}_rss_bytes"), after.rss_bytes);
        self.integer(&format!("{who}_pss_bytes"), after.pss_bytes);
    }

    /// Prints the JSON object to stdout and the lines to stderr.
    pub fn print(&self) {
        eprint!("{}", self.lines);
        println!("{{{}}}", self.json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_json() {
        let mut histogram = latencies();
        histogram.record(1500).unwrap();
        let mut object = Object::default();
        object.text("name", "a \"quoted\"\nword");
        object.number("rate", f64::NAN);
        object.latency("latency_us", &histogram);
        let json = format!("{{{}}}", object.json);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["name"], "a quotedword");
        assert_eq!(parsed["rate"], 0.0);
        assert_eq!(parsed["latency_us"]["count"], 1);
        assert!((parsed["latency_us"]["p99"].as_f64().unwrap() - 1.5).abs() < 0.01);
    }
}
