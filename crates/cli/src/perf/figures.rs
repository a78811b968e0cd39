//! What a run came to, as one JSON object and as text for people.

use std::fmt::Write;

use serde::Serialize;

use super::latency::Percentiles;
use super::usage::Cpu;
use crate::produce::report::{bytes, duration, grouped, rate};

/// The figures that both directions have.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// Records acknowledged, or read.
    pub(super) records: u64,
    /// From the first send to the last acknowledgement, or from the first fetch to the last record.
    pub(super) seconds: f64,
    pub(super) records_per_second: f64,
    /// Keys and values, in units of 10⁶ bytes.
    pub(super) megabytes_per_second: f64,
    /// Of this process; `null` where the system does not tell.
    pub(super) cpu_user_us_per_record: Option<f64>,
    pub(super) cpu_system_us_per_record: Option<f64>,
    pub(super) peak_memory_bytes: Option<u64>,
    pub(super) topic: String,
    pub(super) partitions: usize,
}

/// A run of `perf produce`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Produced {
    #[serde(flatten)]
    pub(super) figures: Figures,
    pub(super) latency_ms: LatencyMs,
    /// Records sent and not acknowledged, and one that was refused.
    pub(super) failed: u64,
    /// Records put back to be sent again, counted each time.
    pub(super) retries: u64,
    /// Not all records that were asked for were sent: Ctrl-C, or a record was refused.
    pub(super) ended_early: bool,
    pub(super) first_error: Option<String>,
    /// Bytes of each value.
    pub(super) size: u32,
    pub(super) threads: u32,
    pub(super) by_name: bool,
    pub(super) batches: u64,
    pub(super) requests: u64,
}

/// `null` where nothing was sampled.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct LatencyMs {
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
    samples: u64,
}

impl Figures {
    /// `payload_bytes`: of keys and values.
    pub(super) fn new(records: u64, payload_bytes: u64, seconds: f64, cpu: Option<Cpu>) -> Figures {
        let seconds = seconds.max(1e-9);
        let per_record = |time: std::time::Duration| {
            // no record, no cost of one
            (records > 0).then(|| time.as_secs_f64() * 1e6 / records as f64)
        };
        Figures {
            records,
            seconds,
            records_per_second: records as f64 / seconds,
            megabytes_per_second: payload_bytes as f64 / 1e6 / seconds,
            cpu_user_us_per_record: cpu.and_then(|cpu| per_record(cpu.user)),
            cpu_system_us_per_record: cpu.and_then(|cpu| per_record(cpu.system)),
            peak_memory_bytes: super::usage::peak_memory_bytes(),
            topic: String::new(),
            partitions: 0,
        }
    }

    /// The lines that both directions have; `what` names the records.
    pub(super) fn text(&self, what: &str) -> String {
        let mut text = format!(
            "{} {what} in {}: {} records/s, {:.1} MB/s\n",
            grouped(self.records),
            duration(self.seconds),
            rate(self.records_per_second),
            self.megabytes_per_second,
        );
        text.push_str("CPU per record   ");
        match (self.cpu_user_us_per_record, self.cpu_system_us_per_record) {
            (Some(user), Some(system)) => {
                let _ = writeln!(text, "{:.3} µs ({user:.3} user, {system:.3} system)", user + system);
            }
            _ if self.records == 0 => text.push_str("no records\n"),
            _ => text.push_str("not known here\n"),
        }
        text
    }

    pub(super) fn memory_text(&self) -> String {
        match self.peak_memory_bytes {
            Some(peak) => format!("peak memory      {}\n", bytes(peak as f64)),
            None => "peak memory      not known here\n".to_owned(),
        }
    }
}

impl Produced {
    pub(super) fn text(&self) -> String {
        let mut text = self.figures.text(&format!("records of {} acknowledged", bytes(f64::from(self.size))));
        let LatencyMs { p50, p99, p999, max, samples } = self.latency_ms;
        text.push_str("latency          ");
        match (p50, p99, p999, max) {
            (Some(p50), Some(p99), Some(p999), Some(max)) => {
                let _ = writeln!(
                    text,
                    "p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms ({} sampled)",
                    digits(p50),
                    digits(p99),
                    digits(p999),
                    digits(max),
                    grouped(samples)
                );
            }
            _ => text.push_str("none sampled\n"),
        }
        text.push_str(&self.figures.memory_text());
        let _ = writeln!(
            text,
            "failed {}, retries {}; {} batches in {} requests to '{}' ({} partition{})",
            grouped(self.failed),
            grouped(self.retries),
            grouped(self.batches),
            grouped(self.requests),
            self.figures.topic,
            self.figures.partitions,
            if self.figures.partitions == 1 { "" } else { "s" },
        );
        text
    }
}

impl LatencyMs {
    /// p50 and p99.
    pub(super) fn shown(&self) -> (Option<f64>, Option<f64>) {
        (self.p50, self.p99)
    }
}

impl From<Option<Percentiles>> for LatencyMs {
    fn from(found: Option<Percentiles>) -> LatencyMs {
        LatencyMs {
            p50: found.map(|found| found.p50),
            p99: found.map(|found| found.p99),
            p999: found.map(|found| found.p999),
            max: found.map(|found| found.max),
            samples: found.map_or(0, |found| found.samples),
        }
    }
}

/// Three digits that mean something: 0.123, 1.23, 12.3, 123.
pub(super) fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// One line, one object.
pub(super) fn json(figures: &impl Serialize) -> Result<String, crate::failure::Failure> {
    let mut line = serde_json::to_string(figures).map_err(crate::failure::Failure::run)?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn figures_per_record_are_of_acknowledged_records() {
        let cpu = Cpu { user: Duration::from_micros(300), system: Duration::from_micros(100) };
        let figures = Figures::new(1000, 100_000, 0.5, Some(cpu));
        assert_eq!(figures.records_per_second, 2000.0);
        assert_eq!(figures.megabytes_per_second, 0.2);
        assert!((figures.cpu_user_us_per_record.unwrap() - 0.3).abs() < 1e-9);
        assert!((figures.cpu_system_us_per_record.unwrap() - 0.1).abs() < 1e-9);
        assert!(figures.text("records").contains("0.400 µs (0.300 user, 0.100 system)"), "{figures:?}");
    }

    #[test]
    fn what_is_not_known_is_said_and_is_null() {
        let figures = Figures::new(10, 10, 1.0, None);
        assert!(figures.text("records").contains("not known here"));
        assert!(json(&figures).unwrap().contains(r#""cpu_user_us_per_record":null"#));
        assert!(Figures::new(0, 0, 1.0, None).text("records").contains("no records"));
        let none = LatencyMs::from(None);
        assert_eq!(
            json(&none).unwrap(),
            "{\"p50\":null,\"p99\":null,\"p999\":null,\"max\":null,\"samples\":0}\n"
        );
    }

    #[test]
    fn latencies_have_three_digits() {
        assert_eq!([0.0456, 4.567, 45.67, 456.7].map(digits), ["0.046", "4.57", "45.7", "457"]);
    }
}
