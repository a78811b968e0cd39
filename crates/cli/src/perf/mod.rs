//! `rohrpost perf`: how fast records go in and out, and what they cost. docs/measuring.md says what each figure means.
//!
//! * [`produce`] is the run; [`worker`] an application thread of it, [`pace`] its rate, [`payload`] what it sends.
//! * [`latency`], [`usage`] and [`series`] are what is measured; [`figures`] prints it, [`plot`] draws it.
//! * [`consume`] reads a topic with the code of `rohrpost consume`, and counts.

pub(crate) mod args;
mod consume;
mod figures;
mod latency;
pub(crate) mod pace;
mod payload;
mod plot;
mod produce;
mod series;
mod usage;
mod worker;

use self::args::{Perf, PerfAction};
use crate::failure::Failure;

pub(crate) fn run(options: &Perf) -> Result<(), Failure> {
    match &options.action {
        PerfAction::Produce(options) => produce::run(options),
        PerfAction::Consume(options) => consume::run(options),
    }
}
