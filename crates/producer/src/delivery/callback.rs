//! What is told of a record's outcome beside its handle: the caller's callback, and what interceptors wait for.
//!
//! They are kept in append order with their batch (CMPL-3), and the memory that they hold is charged to `buffer.memory` until
//! they have run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Handle, PlaceInBatch};
use crate::accumulator::{Charge, Pool};
use crate::outcome::{Delivered, DeliveryError};
use crate::record::Record;
use crate::rules::{self, Rule};
use crate::wait;

/// Somebody who is told one record's outcome, once (CMPL-3, CMPL-5).
pub(crate) trait Notify: Send {
    fn tell(self: Box<Self>, outcome: Result<Delivered, DeliveryError>);

    /// Whether it is the caller's own callback: then the caller has no handle.
    fn is_callers(&self) -> bool;

    /// Bytes that it keeps elsewhere; its own size is known.
    fn kept_bytes(&self) -> usize {
        0
    }

    /// The record as the caller gave it, if what was sent is another one. It is needed until the record is accepted.
    fn take_original(&mut self) -> Option<Box<Record>> {
        None
    }
}

/// Runs exactly once (CMPL-3, CMPL-5).
pub(crate) type Callback = Box<dyn Notify>;

impl<F: FnOnce(Result<Delivered, DeliveryError>) + Send> Notify for F {
    fn tell(self: Box<Self>, outcome: Result<Delivered, DeliveryError>) {
        self(outcome);
    }

    fn is_callers(&self) -> bool {
        true
    }
}

/// What a callback is charged for, its place in the list included.
pub(crate) fn charged_bytes(callback: &Callback) -> usize {
    size_of_val(&**callback) + callback.kept_bytes() + size_of::<(Callback, PlaceInBatch)>()
}

/// Runs one callback; its panic is logged and stays there (CMPL-4).
pub(crate) fn run_callback(callback: Callback, outcome: Result<Delivered, DeliveryError>) {
    if catch_unwind(AssertUnwindSafe(|| wait::as_callback(|| callback.tell(outcome)))).is_err() {
        tracing::error!("a delivery callback panicked; the record's outcome is not affected");
    }
}

/// A batch's callbacks, and the memory they are charged for: in steps, so that the pool is asked once for many.
#[derive(Default)]
pub(super) struct Callbacks {
    pub(super) entries: Vec<(Callback, PlaceInBatch)>,
    /// Of the entries, those that are the caller's own.
    callers: usize,
    bytes: usize,
    charged: usize,
    charges: Vec<Charge>,
}

/// Step in which callbacks are charged to `buffer.memory`.
const CHARGE_STEP: usize = 1024;

impl Callbacks {
    /// Charges a callback ([`charged_bytes`]). `false`: there is no room, and nothing was charged.
    pub(super) fn charge(&mut self, bytes: usize, pool: &Pool, force: bool) -> bool {
        let needed = self.bytes + bytes;
        if needed > self.charged {
            let step = (needed - self.charged).next_multiple_of(CHARGE_STEP).min(pool.total());
            let Some(charge) = pool.charge(step, force) else { return false };
            self.charges.push(charge);
            self.charged += step;
        }
        self.bytes = needed;
        true
    }

    pub(super) fn push(&mut self, callback: Callback, place: PlaceInBatch) {
        self.callers += usize::from(callback.is_callers());
        self.entries.push((callback, place));
    }

    /// All there are. `None`, which is the rule and costs nothing, if there are none and nothing was charged for them.
    #[inline]
    pub(super) fn take_all(&mut self) -> Option<Callbacks> {
        (!self.entries.is_empty() || !self.charges.is_empty()).then(|| std::mem::take(self))
    }

    /// Records whose caller hears of the outcome in a callback.
    pub(super) fn callers(&self) -> usize {
        self.callers
    }

    /// Lets whoever waits for room have what came back: a callback may wait for one of them.
    pub(super) fn hand_on(&self) {
        if let Some(charge) = self.charges.first() {
            charge.hand_on();
        }
    }

    /// Runs them in order. `outcome` makes each one's.
    pub(super) fn run(
        self,
        handle: impl Fn() -> Handle,
        outcome: impl Fn(Handle, PlaceInBatch) -> Result<Delivered, DeliveryError>,
    ) {
        for (callback, place) in self.entries {
            let outcome = outcome(handle(), place);
            if rules::every(Rule::EveryCallback, 50) {
                run_callback(callback, outcome);
            }
        }
    }

    /// Those of the records from `first` to before `end`, with their charge. They stand in append order (CMPL-3).
    pub(super) fn take(&mut self, first: u32, end: u32) -> Callbacks {
        let until = self.entries.partition_point(|(_, place)| place.index < end);
        let entries: Vec<(Callback, PlaceInBatch)> = self
            .entries
            .drain(..until)
            .map(|(callback, place)| (callback, PlaceInBatch { index: place.index - first, ..place }))
            .collect();
        let callers = entries.iter().filter(|(callback, _)| callback.is_callers()).count();
        self.callers -= callers;
        let mut wanted: usize = entries.iter().map(|(callback, _)| charged_bytes(callback)).sum();
        if self.entries.is_empty() {
            wanted = usize::MAX; // the last ones keep what was charged ahead
        }
        let mut charges = Vec::new();
        while let Some(last) = self.charges.last_mut().filter(|_| wanted > 0) {
            let charge: Charge = last.take(wanted);
            wanted -= charge.bytes();
            charges.push(charge);
            if last.bytes() == 0 {
                self.charges.pop();
            }
        }
        let bytes = charges.iter().map(Charge::bytes).sum();
        Callbacks { entries, callers, bytes, charged: bytes, charges }
    }
}
