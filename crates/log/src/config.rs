//! A topic's configuration as far as its log cares, under Kafka's names.

use std::fmt;

use rohrpost_record::{Codec, Compression};

/// What a log asks of its topic's configuration. The defaults are Kafka's; [`set`](LogConfig::set) takes Kafka's keys.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `segment.bytes` (or `internal.segment.bytes`): largest segment file.
    pub segment_bytes: u32,
    /// `segment.ms`: age at which a segment is closed.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: random part subtracted from the age.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: size of an index file.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: log bytes between two index entries.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: largest batch, header included.
    pub max_message_bytes: u32,
    /// `message.timestamp.type` is LogAppendTime.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `compression.type`: `None` = producer, the batch stays as sent; else the codec to store with.
    pub compression_type: Option<Codec>,
    /// `compression.gzip.level`; `None` = the library's own (-1).
    pub gzip_level: Option<i32>,
    /// `compression.lz4.level`.
    pub lz4_level: i32,
    /// `compression.zstd.level`.
    pub zstd_level: i32,
    /// `cleanup.policy` contains compact: records need keys.
    pub compact: bool,
    /// `cleanup.policy` contains delete.
    pub delete: bool,
    /// `flush.messages`: sync after so many records; 1 = before every acknowledgement (U3).
    pub flush_messages: u64,
    /// `flush.ms`: sync when older than this; whoever drives the log looks at the clock.
    pub flush_ms: u64,
    /// `preallocate`: segment files get their full size when they are made.
    pub preallocate: bool,
    /// `retention.ms`; -1 = none.
    pub retention_ms: i64,
    /// `retention.bytes`; -1 = none.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`.
    pub file_delete_delay_ms: u64,
    /// Not a key of Kafka's: the largest decompressed size of a batch that the log is willing to look at, in bytes.
    /// A batch that grows beyond it is answered MESSAGE_TOO_LARGE.
    pub decompressed_bytes_max: usize,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10_485_760,
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression_type: None,
            gzip_level: None,
            lz4_level: LZ4_LEVEL,
            zstd_level: ZSTD_LEVEL,
            compact: false,
            delete: true,
            flush_messages: i64::MAX as u64,
            flush_ms: i64::MAX as u64,
            preallocate: false,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            decompressed_bytes_max: 128 << 20,
        }
    }
}

/// A value that a key does not take, or a key that is none of a log's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key.
    pub key: String,
    /// What is wrong with the value.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl LogConfig {
    /// Sets one of Kafka's topic keys. Keys that concern replication and not the log (`min.insync.replicas`, …) are not
    /// known here; see [`LogConfig::knows`].
    ///
    /// # Errors
    /// A value outside the key's range, and a key that [`knows`](LogConfig::knows) denies.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let refuse = |reason: String| ConfigError { key: key.to_owned(), reason };
        let number = |min: i64, max: i64| -> Result<i64, ConfigError> {
            match value.trim().parse::<i64>() {
                Ok(n) if (min..=max).contains(&n) => Ok(n),
                Ok(n) => Err(refuse(format!("{n} is outside {min} to {max}"))),
                Err(_) => Err(refuse(format!("{value:?} is not a whole number"))),
            }
        };
        let int = i64::from(i32::MAX);
        match key {
            "segment.bytes" => self.segment_bytes = number(1 << 20, int)? as u32,
            "internal.segment.bytes" => self.segment_bytes = number(1, int)? as u32,
            "segment.ms" => self.segment_ms = number(1, i64::MAX)?,
            "segment.jitter.ms" => self.segment_jitter_ms = number(0, i64::MAX)?,
            "segment.index.bytes" => self.segment_index_bytes = number(4, int)? as u32,
            "index.interval.bytes" => self.index_interval_bytes = number(0, int)? as u32,
            "max.message.bytes" => self.max_message_bytes = number(0, int)? as u32,
            "message.timestamp.before.max.ms" => self.timestamp_before_max_ms = number(0, i64::MAX)?,
            "message.timestamp.after.max.ms" => self.timestamp_after_max_ms = number(0, i64::MAX)?,
            "flush.messages" => self.flush_messages = number(1, i64::MAX)? as u64,
            "flush.ms" => self.flush_ms = number(0, i64::MAX)? as u64,
            "retention.ms" => self.retention_ms = number(-1, i64::MAX)?,
            "retention.bytes" => self.retention_bytes = number(i64::MIN, i64::MAX)?,
            "file.delete.delay.ms" => self.file_delete_delay_ms = number(0, i64::MAX)? as u64,
            "message.timestamp.type" => {
                self.log_append_time = match value {
                    "CreateTime" => false,
                    "LogAppendTime" => true,
                    _ => return Err(refuse(format!("{value:?} is neither CreateTime nor LogAppendTime"))),
                };
            }
            "preallocate" => {
                self.preallocate = match value.to_ascii_lowercase().as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(refuse(format!("{value:?} is neither true nor false"))),
                };
            }
            "cleanup.policy" => {
                let (mut compact, mut delete) = (false, false);
                for policy in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
                    match policy {
                        "compact" => compact = true,
                        "delete" => delete = true,
                        _ => return Err(refuse(format!("{policy:?} is neither compact nor delete"))),
                    }
                }
                (self.compact, self.delete) = (compact, delete);
            }
            "compression.type" => {
                self.compression_type = match value {
                    "producer" => None,
                    "uncompressed" => Some(Codec::None),
                    "gzip" => Some(Codec::Gzip),
                    "snappy" => Some(Codec::Snappy),
                    "lz4" => Some(Codec::Lz4),
                    "zstd" => Some(Codec::Zstd),
                    _ => {
                        return Err(refuse(format!(
                            "{value:?} is none of uncompressed, zstd, lz4, snappy, gzip, producer"
                        )));
                    }
                };
                self.compression()?;
            }
            "compression.gzip.level" => {
                let level = number(-1, 9)? as i32;
                if level == 0 {
                    return Err(refuse("0 is not a level; use compression.type=uncompressed".to_owned()));
                }
                self.gzip_level = (level != -1).then_some(level);
                self.compression()?;
            }
            "compression.lz4.level" => {
                self.lz4_level = number(1, 17)? as i32;
                self.compression()?;
            }
            "compression.zstd.level" => {
                self.zstd_level = number(-131_072, 22)? as i32;
                self.compression()?;
            }
            _ => return Err(refuse("is not a key of a topic's log".to_owned())),
        }
        Ok(())
    }

    /// Whether [`set`](LogConfig::set) takes this key.
    pub fn knows(key: &str) -> bool {
        KEYS.contains(&key)
    }

    /// What to compress stored batches with; `None`: they stay as they were sent (L8).
    ///
    /// # Errors
    /// A level that this build's codec does not have.
    pub fn compression(&self) -> Result<Option<Compression>, ConfigError> {
        let Some(codec) = self.compression_type else { return Ok(None) };
        let level = match codec {
            Codec::Gzip => self.gzip_level,
            // Kafka's default levels are the codecs' own; only another one is asked for by number, so that a build
            // without the C libraries serves the defaults.
            Codec::Lz4 => (self.lz4_level != LZ4_LEVEL).then_some(self.lz4_level),
            Codec::Zstd => (self.zstd_level != ZSTD_LEVEL).then_some(self.zstd_level),
            Codec::None | Codec::Snappy => None,
        };
        let refuse = |e: rohrpost_record::CompressionError| ConfigError {
            key: "compression.type".to_owned(),
            reason: e.to_string(),
        };
        Compression::new(codec, level).map(Some).map_err(refuse)
    }
}

const LZ4_LEVEL: i32 = 9;
const ZSTD_LEVEL: i32 = 3;

const KEYS: &[&str] = &[
    "segment.bytes",
    "internal.segment.bytes",
    "segment.ms",
    "segment.jitter.ms",
    "segment.index.bytes",
    "index.interval.bytes",
    "max.message.bytes",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
    "message.timestamp.type",
    "flush.messages",
    "flush.ms",
    "retention.ms",
    "retention.bytes",
    "file.delete.delay.ms",
    "preallocate",
    "cleanup.policy",
    "compression.type",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_known_can_be_set() {
        for key in KEYS {
            let value = match *key {
                "message.timestamp.type" => "LogAppendTime",
                "preallocate" => "true",
                "cleanup.policy" => "compact,delete",
                "compression.type" => "uncompressed",
                "compression.gzip.level" | "compression.zstd.level" => "5",
                "segment.bytes" => "1048576",
                _ => "7",
            };
            let mut config = LogConfig::default();
            config.set(key, value).unwrap();
        }
        assert!(LogConfig::default().set("min.insync.replicas", "1").is_err());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let mut config = LogConfig::default();
        for (key, value) in [
            ("segment.bytes", "1000"),
            ("flush.messages", "0"),
            ("cleanup.policy", "shred"),
            ("compression.type", "rar"),
            ("compression.gzip.level", "0"),
            ("message.timestamp.type", "Now"),
            ("retention.ms", "soon"),
        ] {
            assert_eq!(config.set(key, value).unwrap_err().key, key);
        }
    }
}
