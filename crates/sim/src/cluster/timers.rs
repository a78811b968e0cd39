//! What is to happen later, in order of time; of what is due at the same time, in the order in which it was ordered.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Actions by time.
#[derive(Debug)]
pub(super) struct Timers<A> {
    heap: BinaryHeap<Reverse<Entry<A>>>,
    ordered: u64,
}

#[derive(Debug)]
struct Entry<A> {
    at_ms: u64,
    number: u64,
    action: A,
}

impl<A> Default for Timers<A> {
    fn default() -> Timers<A> {
        Timers { heap: BinaryHeap::new(), ordered: 0 }
    }
}

impl<A> Timers<A> {
    /// Orders an action.
    pub(super) fn order(&mut self, at_ms: u64, action: A) {
        self.ordered += 1;
        self.heap.push(Reverse(Entry { at_ms, number: self.ordered, action }));
    }

    /// When the next one is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at_ms)
    }

    /// The next one that is due at `now_ms`, and when it was.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<(u64, A)> {
        if self.next_ms()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.at_ms, entry.action))
    }
}

impl<A> PartialEq for Entry<A> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<A> Eq for Entry<A> {}

impl<A> PartialOrd for Entry<A> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<A> Ord for Entry<A> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_ms, self.number).cmp(&(other.at_ms, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_in_order_of_time_and_then_of_ordering() {
        let mut timers = Timers::default();
        for (at_ms, action) in [(5, "c"), (3, "a"), (5, "d"), (3, "b"), (9, "later")] {
            timers.order(at_ms, action);
        }
        let mut due = Vec::new();
        while let Some((_, action)) = timers.pop(5) {
            due.push(action);
        }
        assert_eq!(due, ["a", "b", "c", "d"]);
        assert_eq!(timers.next_ms(), Some(9));
    }
}
