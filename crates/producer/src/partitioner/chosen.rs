//! A user's partitioner at work: asked once for each record, outside every lock, its panics kept from the producer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Choice, Partitioner, TopicView};
use crate::accumulator::TopicState;
use crate::record::Record;
use crate::wait;

/// What a partitioner has said for one record. Kept while the record waits, so that it is not asked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// Nothing yet.
    #[default]
    Open,
    /// The built-in way.
    Any,
    /// This partition, unless that would begin a new batch.
    First(u32),
    /// This partition.
    Final(u32),
}

/// The partitioner of a producer that does not have the built-in one.
pub(crate) struct Custom {
    partitioner: Arc<dyn Partitioner>,
    is_closed: AtomicBool,
}

impl Custom {
    pub(crate) fn new(partitioner: Arc<dyn Partitioner>) -> Custom {
        Custom { partitioner, is_closed: AtomicBool::new(false) }
    }

    /// The partition of a record that names none; `None`: the built-in way. An error is why there is none. `known` is how many partitions
    /// the topic had a moment ago.
    pub(crate) fn choose(
        &self,
        record: &Record,
        topic: &TopicState,
        known: u32,
        chosen: &mut Chosen,
    ) -> Result<Option<u32>, String> {
        match *chosen {
            Chosen::Any => return Ok(None),
            Chosen::First(index) | Chosen::Final(index) if index < known => return Ok(Some(index)),
            // The topic is not what it was.
            Chosen::Open | Chosen::First(_) | Chosen::Final(_) => {}
        }
        let view = TopicView::new(topic, known);
        let said = asked(|| self.partitioner.partition(record, &view))?;
        // As many as it was shown: the topic may have grown since the caller looked.
        *chosen = checked(said, view.partitions())?.map_or(Chosen::Any, Chosen::First);
        Ok(match *chosen {
            Chosen::First(index) => Some(index),
            _ => None,
        })
    }

    /// The record would begin a new batch in the partition that was chosen first: says whether another one was chosen.
    pub(crate) fn tell_of_new_batch(
        &self,
        record: &Record,
        topic: &TopicState,
        known: u32,
        chosen: &mut Chosen,
    ) -> Result<(), String> {
        let Chosen::First(index) = *chosen else { return Ok(()) };
        let view = TopicView::new(topic, known);
        let said = asked(|| self.partitioner.on_new_batch(record, &view, index))?;
        *chosen = checked(said, view.partitions())?.map_or(Chosen::Any, Chosen::Final);
        Ok(())
    }

    /// Once.
    pub(crate) fn close(&self) {
        if !self.is_closed.swap(true, Ordering::AcqRel)
            && catch_unwind(AssertUnwindSafe(|| wait::as_callback(|| self.partitioner.close()))).is_err()
        {
            tracing::error!("the partitioner's close panicked");
        }
    }
}

fn asked(ask: impl FnOnce() -> Choice) -> Result<Choice, String> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|_| {
        tracing::error!("the partitioner panicked; the record is refused");
        "it panicked".to_owned()
    })
}

/// PAR-1: a negative answer is an error, and so is one that the topic does not have.
fn checked(said: Choice, known: u32) -> Result<Option<u32>, String> {
    match said {
        Choice::Any => Ok(None),
        Choice::Refuse(why) => Err(why),
        Choice::Partition(index) => match u32::try_from(index) {
            Ok(index) if index < known => Ok(Some(index)),
            _ => Err(format!("it chose {index}, and there are {known} partitions, from 0")),
        },
    }
}
