//! Compression off the hot paths: neither the thread that appends nor the sender compresses.
//!
//! A closed batch gives its pieces to this pool, which compresses them into scratch memory and writes the result back over them, so
//! that closing a batch never needs memory when there is none; chunks left over go back at once. A batch that would grow stays
//! plain (ACC-7): what it was charged is the most that it takes. The queue is bounded by `buffer.memory`: each job holds its batch's chunks.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Condvar, Mutex};
use rohrpost_record::{BatchBuilder, Codec, Compression, Compressor, HEADER_LEN};

use super::batch::{Batch, Piece, State};
use super::queue::Partition;
use super::split::BatchId;
use crate::wait::{self, SenderWake};

/// A few threads that compress closed batches; started with the first batch.
pub(crate) struct CodecPool {
    shared: Arc<CodecShared>,
    /// There is a topic whose batches are compressed.
    compresses: bool,
    threads: usize,
    start: StartThread,
}

/// Starts a thread of this name.
type StartThread = fn(&str, Box<dyn FnOnce() + Send>) -> io::Result<()>;

struct CodecShared {
    state: Mutex<CodecState>,
    work: Condvar,
    idle: Condvar,
    sender: SenderWake,
}

#[derive(Default)]
struct CodecState {
    jobs: VecDeque<Job>,
    started: usize,
    busy: usize,
    stopped: bool,
    /// For jobs run by the caller, when there are no threads.
    inline: Bench,
}

/// What a worker keeps between batches.
#[derive(Default)]
struct Bench {
    compressor: Compressor,
    scratch: Vec<u8>,
}

/// A closed batch's records on their way through the codec.
pub(crate) struct Job {
    partition: Arc<Partition>,
    id: BatchId,
    pieces: Vec<Piece>,
    builder: BatchBuilder,
    compression: Compression,
}

impl CodecPool {
    /// `threads` 0: jobs run when [`run_inline`](CodecPool::run_inline) is called, on that thread.
    pub(crate) fn new(compresses: bool, threads: usize, sender: SenderWake) -> CodecPool {
        let shared =
            CodecShared { state: Mutex::default(), work: Condvar::new(), idle: Condvar::new(), sender };
        CodecPool { shared: Arc::new(shared), compresses, threads, start: start_thread }
    }

    /// Closes a batch. With a codec it has to come back from this pool before it is ready: submit the job after the partition's
    /// lock is gone.
    pub(crate) fn close(&self, batch: &mut Batch) -> Option<Job> {
        let compression = batch.partition.settings().compression; // CFG-17
        if compression.codec() == Codec::None {
            batch.close_plain();
            return None;
        }
        batch.state = State::Compressing;
        Some(Job {
            partition: batch.partition.clone(),
            id: batch.id,
            pieces: std::mem::take(&mut batch.pieces),
            builder: batch.builder,
            compression,
        })
    }

    pub(crate) fn submit(&self, job: Job) {
        let mut state = self.shared.state.lock();
        let mut problem = None;
        state.jobs.push_back(job);
        if state.started < self.threads.min(state.jobs.len() + state.busy) {
            let shared = self.shared.clone();
            match (self.start)("rohrpost-codec", Box::new(move || shared.run())) {
                Ok(()) => state.started += 1,
                Err(error) => problem = Some(error),
            }
        }
        let is_alone = state.started == 0;
        drop(state);
        if let Some(error) = problem {
            // Outside the lock: whoever takes the log may use this producer.
            tracing::warn!(%error, "no thread for compression: the sender compresses");
        }
        if is_alone {
            self.shared.sender.wake(); // it compresses, and may be asleep
        } else {
            self.shared.work.notify_one();
        }
    }

    /// Does the jobs itself if there is no thread for them. For the sender.
    pub(crate) fn run_inline(&self) {
        if !self.compresses {
            return;
        }
        let mut state = self.shared.state.lock();
        if state.started > 0 {
            return;
        }
        let mut bench = std::mem::take(&mut state.inline);
        while let Some(job) = state.jobs.pop_front() {
            drop(state);
            job.run(&mut bench);
            state = self.shared.state.lock();
        }
        state.inline = bench;
    }

    /// Waits until no job is open: a few milliseconds. For whoever takes batches out of their queues by force.
    pub(crate) fn settle(&self) {
        self.run_inline();
        let mut state = self.shared.state.lock();
        while state.started > 0 && (!state.jobs.is_empty() || state.busy > 0) {
            self.shared.idle.wait(&mut state);
        }
    }

    /// ACC-5: estimated bytes per uncompressed byte, in 1/65536.
    pub(crate) fn scale(partition: &Partition) -> u64 {
        match partition.settings().compression.codec() {
            Codec::None => 1 << 16,
            _ => (f64::from(partition.ratio().get()) * 1.05 * 65536.0) as u64,
        }
    }
}

fn start_thread(name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

impl Drop for CodecPool {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.work.notify_all();
    }
}

impl CodecShared {
    fn run(&self) {
        wait::mark_own_thread();
        let mut bench = Bench::default();
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.busy += 1;
                drop(state);
                job.run(&mut bench);
                self.sender.wake(); // a head may be ready now
                state = self.state.lock();
                state.busy -= 1;
                if state.busy == 0 && state.jobs.is_empty() {
                    self.idle.notify_all();
                }
            } else if state.stopped {
                return;
            } else {
                self.work.wait(&mut state);
            }
        }
    }
}

impl Job {
    fn run(mut self, bench: &mut Bench) {
        let compression = self.compression;
        let raw_len = self.builder.records_len();
        bench.scratch.clear();
        let compressed = catch_unwind(AssertUnwindSafe(|| {
            let mut input =
                self.pieces.iter().enumerate().map(|(at, piece)| {
                    &piece.chunk.bytes()[if at == 0 { HEADER_LEN } else { 0 }..piece.used]
                });
            bench.compressor.compress(compression, &mut input, &mut bench.scratch, raw_len.saturating_sub(1))
        }));
        let (codec, payload_len) = match compressed {
            Ok(Ok(true)) => {
                self.write_back(&bench.scratch);
                (compression.codec(), bench.scratch.len())
            }
            Ok(Ok(false)) => (Codec::None, raw_len), // ACC-7: it would have grown, beyond what was reserved for it
            Ok(Err(error)) => {
                tracing::warn!(%error, "a batch is sent uncompressed");
                (Codec::None, raw_len)
            }
            Err(_) => {
                tracing::error!("the codec panicked; the batch is sent uncompressed");
                bench.compressor = Compressor::new();
                (Codec::None, raw_len)
            }
        };
        self.partition.ratio().observe(payload_len as f32 / raw_len.max(1) as f32);
        let mut queue = self.partition.queue.lock();
        if let Some(batch) = queue.batches.iter_mut().find(|batch| batch.id == self.id) {
            batch.pieces = std::mem::take(&mut self.pieces);
            batch.codec = codec;
            batch.payload_len = payload_len;
            batch.state = State::Ready;
        }
        drop(queue);
        // What is left of the job gives its memory back here, outside the lock.
    }

    /// Spreads the compressed records over the chunks; those not needed go back to the pool.
    fn write_back(&mut self, mut bytes: &[u8]) {
        let mut needed = 0;
        for piece in &mut self.pieces {
            let start = if needed == 0 { HEADER_LEN } else { 0 };
            if needed > 0 && bytes.is_empty() {
                break;
            }
            let len = bytes.len().min(piece.chunk.len() - start);
            piece.chunk.bytes_mut()[start..start + len].copy_from_slice(&bytes[..len]);
            piece.used = start + len;
            bytes = &bytes[len..];
            needed += 1;
        }
        assert!(bytes.is_empty(), "compressed records are smaller than the chunks they came from");
        self.pieces.truncate(needed);
    }
}

/// How well a topic compresses: compressed bytes per uncompressed byte, a cautious estimate (ACC-6).
pub(crate) struct Ratio(AtomicU32);

impl Default for Ratio {
    fn default() -> Ratio {
        Ratio(AtomicU32::new(1.0_f32.to_bits()))
    }
}

impl Ratio {
    pub(crate) fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    /// A batch closed with this ratio: up quickly, down slowly (ACC-6). Two observations at once may count as one.
    pub(crate) fn observe(&self, observed: f32) {
        let ratio = self.get();
        let next = if observed > ratio {
            (ratio + 0.05).max(observed)
        } else if observed < ratio {
            (ratio - 0.005).max(observed)
        } else {
            ratio
        };
        self.0.store(next.to_bits(), Ordering::Relaxed);
    }

    /// A batch was too large: nothing is expected of the codec until it has shown itself again (ACC-6). Kafka takes what the batch had, if
    /// that was worse; here none is larger than its records (ACC-7).
    pub(crate) fn reset(&self) {
        self.0.store(1.0_f32.to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
impl CodecPool {
    /// From now on no thread can be started.
    pub(super) fn refuse_threads(&mut self) {
        self.start = |_, _| Err(io::Error::from(io::ErrorKind::WouldBlock));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // ACC-6
    #[test]
    fn the_ratio_rises_quickly_and_falls_slowly() {
        let ratio = Ratio::default();
        for (observed, expected) in [(0.5, 0.995), (1.2, 1.2), (1.21, 1.25), (1.25, 1.25), (1.249, 1.249)] {
            ratio.observe(observed);
            assert!(
                (ratio.get() - expected).abs() < 1e-6,
                "{observed}: {} instead of {expected}",
                ratio.get()
            );
        }
    }
}
