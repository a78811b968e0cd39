//! When a broker's periodic work is due: a state machine over the monotonic clock. What the work is, others know.

/// A piece of periodic work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// `replica.high.watermark.checkpoint.interval.ms` (D13).
    HighWatermarks,
    /// `log.flush.offset.checkpoint.interval.ms` (D13).
    RecoveryPoints,
    /// `log.flush.start.offset.checkpoint.interval.ms` (D13).
    LogStarts,
    /// `log.retention.check.interval.ms` (D22).
    Retention,
    /// `producer.id.expiration.check.interval.ms` (I9).
    ExpireProducers,
}

/// A task's interval and its first run, both in ms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Period {
    pub(crate) task: Task,
    pub(crate) first_after_ms: u64,
    pub(crate) interval_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Schedule {
    entries: Vec<(Period, u64)>,
}

impl Schedule {
    pub(crate) fn new(periods: impl IntoIterator<Item = Period>, now_ms: u64) -> Schedule {
        let entries =
            periods.into_iter().map(|period| (period, now_ms.saturating_add(period.first_after_ms)));
        Schedule { entries: entries.collect() }
    }

    /// What is due, in the order in which it was given. It is due again an interval after `now_ms`: what was missed by a slow disk
    /// is not made up for.
    pub(crate) fn take_due(&mut self, now_ms: u64) -> Vec<Task> {
        let mut due = Vec::new();
        for (period, at) in &mut self.entries {
            if *at <= now_ms {
                *at = now_ms.saturating_add(period.interval_ms.max(1));
                due.push(period.task);
            }
        }
        due
    }

    /// When the next task is due.
    pub(crate) fn next_ms(&self) -> u64 {
        self.entries.iter().map(|(_, at)| *at).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_begins_after_the_first_delay_and_comes_back_after_each_interval() {
        // D13
        let period = |task, first_after_ms, interval_ms| Period { task, first_after_ms, interval_ms };
        let periods = [
            period(Task::HighWatermarks, 30, 5),
            period(Task::Retention, 30, 300),
            period(Task::LogStarts, 0, 0),
        ];
        let mut schedule = Schedule::new(periods, 100);
        assert_eq!(schedule.next_ms(), 100);
        assert_eq!(schedule.take_due(100), [Task::LogStarts]);
        assert_eq!(schedule.next_ms(), 101, "an interval of 0 is one of 1");
        assert_eq!(schedule.take_due(130), [Task::HighWatermarks, Task::Retention, Task::LogStarts]);
        assert_eq!(schedule.take_due(134), [Task::LogStarts]);
        assert_eq!(schedule.take_due(200), [Task::HighWatermarks, Task::LogStarts], "once, however late");
        assert_eq!(Schedule::new([], 0).next_ms(), u64::MAX);
        assert_eq!(Schedule::new([period(Task::LogStarts, u64::MAX, 1)], 5).next_ms(), u64::MAX);
    }
}
