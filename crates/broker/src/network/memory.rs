//! The bound on the memory of requests that are being read, queued or handled: `queued.max.request.bytes` (N7).
//!
//! A frame is charged with its whole size as soon as that is known, and the charge ends with its buffer, after the handler. So
//! what is begun can be finished. At the bound a connection is not read; its peer fills only its own socket's buffer. As in Kafka
//! the last frame may go beyond the bound, or one larger than the bound would never pass.

use std::sync::Arc;

use parking_lot::Mutex;

use super::channel::ResponseQueue;

/// What is left for frames. Shared by all network threads.
#[derive(Debug)]
pub(crate) struct FrameMemory {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// Network threads that hold connections back.
    waiting: Vec<Arc<ResponseQueue>>,
}

/// The memory of one frame; given back when dropped.
#[derive(Debug)]
pub(super) struct Charge {
    memory: Arc<FrameMemory>,
    bytes: usize,
}

impl FrameMemory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    /// Takes memory for a frame. `None`: there is none; `from` is woken when there is.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize, from: &Arc<ResponseQueue>) -> Option<Charge> {
        let mut state = self.state.lock();
        if state.used >= self.bytes_max {
            if !state.waiting.iter().any(|queue| Arc::ptr_eq(queue, from)) {
                state.waiting.push(Arc::clone(from));
            }
            return None;
        }
        state.used = state.used.saturating_add(bytes);
        Some(Charge { memory: Arc::clone(self), bytes })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.memory.state.lock();
            state.used = state.used.saturating_sub(self.bytes);
            if state.used < self.memory.bytes_max { std::mem::take(&mut state.waiting) } else { Vec::new() }
        };
        for queue in waiting {
            queue.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_bound_waits_until_memory_returns() {
        // N7
        let poll = mio::Poll::new().unwrap();
        let queue = Arc::new(ResponseQueue::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap()));
        let memory = Arc::new(FrameMemory::new(100));
        let first = memory.charge(40, &queue).unwrap();
        let second = memory.charge(500, &queue).expect("the last one may go beyond");
        assert!(memory.charge(1, &queue).is_none());
        assert!(memory.charge(1, &queue).is_none());
        assert_eq!(memory.state.lock().waiting.len(), 1);
        queue.begin_pass();
        drop(first);
        assert!(queue.may_sleep(), "still over the bound: nobody is woken");
        queue.begin_pass();
        drop(second);
        assert!(!queue.may_sleep(), "the thread was told");
        drop(memory.charge(1, &queue).unwrap());
        assert_eq!(memory.state.lock().used, 0);
    }
}
