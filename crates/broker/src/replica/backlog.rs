//! How many bytes of a log are committed, without reading it: what a waiting fetch counts (W6, R13).

use std::collections::VecDeque;

/// Bytes since the log was opened. Appends go in with the offset that they end at; the high watermark makes them count.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    appended: u64,
    committed: u64,
    /// Appends above the high watermark: the offset after the last record, and `appended` at that moment.
    pending: VecDeque<(i64, u64)>,
}

/// Beyond this appends are counted together: a fetch may then wake a little late, never too early.
const PENDING_MAX: usize = 1024;

impl Backlog {
    /// A batch that ends below `end`.
    pub(crate) fn append(&mut self, end: i64, bytes: u64) {
        if bytes == 0 {
            return; // a duplicate
        }
        self.appended += bytes;
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_back();
        }
        self.pending.push_back((end, self.appended));
    }

    /// Everything below is committed.
    pub(crate) fn commit(&mut self, high_watermark: i64) {
        let settled = self.pending.partition_point(|(end, _)| *end <= high_watermark);
        if let Some((_, appended)) = self.pending.drain(..settled).next_back() {
            self.committed = appended;
        }
    }

    /// Bytes committed so far.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_when_the_high_watermark_has_passed_their_batch() {
        // W6, R13
        let mut backlog = Backlog::default();
        backlog.append(10, 100);
        backlog.append(20, 50);
        assert_eq!(backlog.committed(), 0);
        backlog.commit(10);
        assert_eq!(backlog.committed(), 100);
        backlog.append(10, 0);
        backlog.commit(19);
        assert_eq!(backlog.committed(), 100);
        backlog.commit(20);
        assert_eq!(backlog.committed(), 150);
    }

    #[test]
    fn a_long_backlog_is_bounded_and_counts_everything_in_the_end() {
        let mut backlog = Backlog::default();
        let appends = 3 * PENDING_MAX as i64;
        for end in 1..=appends {
            backlog.append(end, 1);
        }
        assert_eq!(backlog.pending.len(), PENDING_MAX);
        backlog.commit(5);
        assert_eq!(backlog.committed(), 5);
        backlog.commit(appends - 1);
        assert!(backlog.committed() < appends as u64, "never too early");
        backlog.commit(appends);
        assert_eq!(backlog.committed(), appends as u64);
    }
}
