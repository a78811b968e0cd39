//! The stations of the record path, each in a function of its own, for `scripts/instructions`: it runs this program under callgrind,
//! which counts what happens inside the functions named `measured_…`.
//!
//! ```text
//! instructions SIZE
//! ```
//!
//! Prints, for each station, how many records, batches or requests went through it.

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;

use bytes::Bytes;
use rohrpost::measured::Rig;
use rohrpost::{
    Choice, Delivery, Partitioner, Record, SerializeError, Serializer, Target, TopicView, TypedTopic, Unit,
};
use rohrpost_record::{ValidateRules, single_batch, validate};

const PARTITIONS: usize = 6;
/// Nothing is counted in these: memory is taken for the first time, tables grow.
const WARM_UP_ROUNDS: usize = 3;
const ROUNDS: usize = 20;
const AREA_BYTES: usize = 1 << 20;
/// Batches that wait in a partition's queue while others come back to be sent again.
const QUEUED: usize = 500;
/// How many come back together: as many as may be in flight.
const IN_FLIGHT: usize = 5;

#[allow(clippy::print_stdout, reason = "the counts are the program's output")]
fn main() -> Result<(), Box<dyn Error>> {
    let Some(Ok(size)) = std::env::args().nth(1).map(|size| size.parse::<usize>()) else {
        return Err("usage: instructions SIZE".into());
    };
    let mut run = Run::new(size)?;
    for round in 0..WARM_UP_ROUNDS + ROUNDS {
        run.is_counted = round >= WARM_UP_ROUNDS;
        run.append_round();
        run.custom_round();
    }
    // the first batch of each partition has one record more than the following ones: the one that closes it
    run.fill(1);
    for round in 0..WARM_UP_ROUNDS + ROUNDS {
        run.is_counted = round >= WARM_UP_ROUNDS;
        run.request_round()?;
    }
    run.rig.deliver_all();
    run.deliveries.clear();
    run.retry_rounds()?;
    println!("{}", serde_json::to_string(&run.counts)?);
    Ok(())
}

/// The sender's side is the rig's; this is the application's.
struct Run {
    rig: Rig,
    /// A producer with a partitioner of the application's own.
    custom: Rig,
    typed: TypedTopic<Unit, Written>,
    area: &'static [u8],
    at: usize,
    size: usize,
    /// Records in a full batch.
    per_batch: usize,
    deliveries: Vec<Delivery>,
    is_counted: bool,
    /// How often each station was passed while it was counted.
    counts: BTreeMap<&'static str, usize>,
}

impl Run {
    fn new(size: usize) -> Result<Run, Box<dyn Error>> {
        let mut area = vec![0; AREA_BYTES];
        fastrand::Rng::with_seed(1).fill(&mut area);
        let rig = Rig::new(PARTITIONS);
        let mut run = Run {
            typed: rig.topic().clone().value(Written),
            rig,
            custom: Rig::with_partitioner(PARTITIONS, ByValue),
            area: area.leak(),
            at: 0,
            size,
            per_batch: 0,
            deliveries: Vec::with_capacity(1 << 16),
            is_counted: false,
            counts: BTreeMap::new(),
        };
        // how many records fit is found by trying: the batch that is ready before the next record lingers is full
        while run.rig.close() == 0 {
            run.send_to(0);
            run.per_batch += 1;
            if run.per_batch > 1 << 16 {
                return Err("no batch was ever full".into());
            }
        }
        run.per_batch -= 1;
        run.rig.complete();
        run.rig.deliver_all();
        Ok(run)
    }

    /// As an application sends: through the handle, by name, and through a handle that serializes.
    fn append_round(&mut self) {
        let values = self.values(PARTITIONS * self.per_batch);
        let (by_handle, by_name) = values.split_at(values.len() / 2);
        if self.is_counted {
            measured_append(&self.rig, by_handle, &mut self.deliveries);
            measured_append_by_name(&self.rig, by_name, &mut self.deliveries);
        } else {
            append(&self.rig, by_handle, &mut self.deliveries);
            append_by_name(&self.rig, by_name, &mut self.deliveries);
        }
        self.count("append", by_handle.len());
        self.count("append_by_name", by_name.len());
        self.rig.deliver_all();
        self.deliveries.clear();
        if self.is_counted {
            measured_append_typed(&self.typed, by_handle, &mut self.deliveries);
        } else {
            append_typed(&self.typed, by_handle, &mut self.deliveries);
        }
        self.count("append_typed", by_handle.len());
        self.rig.deliver_all();
        self.deliveries.clear();
    }

    /// As an application sends that has a partitioner of its own.
    fn custom_round(&mut self) {
        let values = self.values(PARTITIONS * self.per_batch / 2);
        if self.is_counted {
            measured_append_custom(&self.custom, &values, &mut self.deliveries);
        } else {
            append(&self.custom, &values, &mut self.deliveries);
        }
        self.count("append_custom", values.len());
        self.custom.deliver_all();
        self.deliveries.clear();
    }

    /// One request with one full batch of each partition.
    fn request_round(&mut self) -> Result<(), Box<dyn Error>> {
        self.fill(self.per_batch);
        let batches = if self.is_counted { measured_close(&mut self.rig) } else { self.rig.close() };
        if batches != PARTITIONS {
            return Err(format!("{batches} batches instead of {PARTITIONS}").into());
        }
        self.count("close", batches);
        if self.is_counted {
            measured_stamp(&mut self.rig)
        } else {
            self.rig.stamp()
        }
        self.count("stamp", batches);
        if self.is_counted {
            measured_encode(&mut self.rig)
        } else {
            self.rig.encode()
        };
        self.count("encode_request", 1);
        let written = self.rig.written();
        let records = if self.is_counted { measured_validate(&written) } else { validate_all(&written) }?;
        if records != PARTITIONS * self.per_batch {
            return Err(format!("{records} records instead of {}", PARTITIONS * self.per_batch).into());
        }
        self.count("validate", batches);
        self.rig.take_back();
        if self.is_counted {
            measured_complete(&mut self.rig)
        } else {
            self.rig.complete()
        }
        self.count("complete", batches);
        let (done, open) = self.deliveries.drain(..).partition::<Vec<_>, _>(Delivery::is_done);
        self.deliveries = open;
        let settled = done.len();
        let acked = if self.is_counted { measured_await(done) } else { await_all(done) };
        if acked != records || settled != records {
            return Err(format!("{acked} records acknowledged instead of {records}").into());
        }
        self.count("await", settled);
        Ok(())
    }

    /// Requests that are to be sent again, before a long queue.
    fn retry_rounds(&mut self) -> Result<(), Box<dyn Error>> {
        for _ in 0..QUEUED * self.per_batch {
            self.send_to(0);
        }
        for round in 0..WARM_UP_ROUNDS + ROUNDS {
            self.is_counted = round >= WARM_UP_ROUNDS;
            let taken = (0..IN_FLIGHT).map(|_| self.rig.close()).last();
            if taken != Some(IN_FLIGHT) {
                return Err(format!("{taken:?} batches instead of {IN_FLIGHT}").into());
            }
            if self.is_counted {
                measured_put_back(&mut self.rig)
            } else {
                self.rig.put_back()
            }
            self.count("put_back", IN_FLIGHT);
        }
        self.rig.deliver_all();
        self.deliveries.clear();
        Ok(())
    }

    /// So many records to each partition.
    fn fill(&mut self, records: usize) {
        for _ in 0..records {
            for partition in 0..PARTITIONS as i32 {
                self.send_to(partition);
            }
        }
    }

    fn send_to(&mut self, partition: i32) {
        let value = self.values(1).remove(0);
        let record = Record::value(value).partition(partition).expect("not negative");
        self.deliveries.push(self.rig.topic().send_blocking(record).expect("there is room"));
    }

    fn values(&mut self, count: usize) -> Vec<Bytes> {
        let value = |_| {
            if self.at + self.size > self.area.len() {
                self.at = (self.at + 1) % self.size;
            }
            self.at += self.size;
            Bytes::from_static(&self.area[self.at - self.size..self.at])
        };
        (0..count).map(value).collect()
    }

    fn count(&mut self, station: &'static str, passed: usize) {
        if self.is_counted {
            *self.counts.entry(station).or_default() += passed;
        }
    }
}

#[inline(never)]
fn measured_append(rig: &Rig, values: &[Bytes], out: &mut Vec<Delivery>) {
    append(rig, values, out);
}

#[inline(never)]
fn measured_append_by_name(rig: &Rig, values: &[Bytes], out: &mut Vec<Delivery>) {
    append_by_name(rig, values, out);
}

#[inline(never)]
fn measured_append_typed(topic: &TypedTopic<Unit, Written>, values: &[Bytes], out: &mut Vec<Delivery>) {
    append_typed(topic, values, out);
}

#[inline(never)]
fn measured_append_custom(rig: &Rig, values: &[Bytes], out: &mut Vec<Delivery>) {
    append(rig, values, out);
}

#[inline(never)]
fn measured_close(rig: &mut Rig) -> usize {
    black_box(rig.close())
}

#[inline(never)]
fn measured_stamp(rig: &mut Rig) {
    rig.stamp();
}

#[inline(never)]
fn measured_encode(rig: &mut Rig) -> usize {
    black_box(rig.encode())
}

#[inline(never)]
fn measured_validate(batches: &[Vec<u8>]) -> Result<usize, Box<dyn Error>> {
    validate_all(batches)
}

#[inline(never)]
fn measured_complete(rig: &mut Rig) {
    rig.complete();
}

#[inline(never)]
fn measured_put_back(rig: &mut Rig) {
    rig.put_back();
}

#[inline(never)]
fn measured_await(deliveries: Vec<Delivery>) -> usize {
    await_all(deliveries)
}

#[inline(always)]
fn append(rig: &Rig, values: &[Bytes], out: &mut Vec<Delivery>) {
    for value in values {
        out.push(rig.topic().send_blocking(Record::value(value.clone())).expect("there is room"));
    }
}

#[inline(always)]
fn append_by_name(rig: &Rig, values: &[Bytes], out: &mut Vec<Delivery>) {
    for value in values {
        let record = Record::to(rig.topic_name()).value(value.clone());
        out.push(rig.producer().send_blocking(record).expect("there is room"));
    }
}

#[inline(always)]
fn append_typed(topic: &TypedTopic<Unit, Written>, values: &[Bytes], out: &mut Vec<Delivery>) {
    for value in values {
        out.push(topic.send_blocking(&(), &**value).expect("there is room"));
    }
}

/// What an application might write: it puts bytes where it is told to.
struct Written;

impl Serializer<[u8]> for Written {
    fn serialize(&self, data: &[u8], target: &mut Target<'_>) -> Result<(), SerializeError> {
        target.write(data);
        Ok(())
    }
}

/// What an application might write: it looks at each record, and at how many partitions there are.
struct ByValue;

impl Partitioner for ByValue {
    fn partition(&self, record: &Record, topic: &TopicView<'_>) -> Choice {
        let first = record.value_bytes().and_then(|value| value.first().copied()).unwrap_or(0);
        Choice::Partition((u32::from(first) % topic.partitions()) as i32)
    }
}

#[inline(always)]
fn validate_all(batches: &[Vec<u8>]) -> Result<usize, Box<dyn Error>> {
    // the records' time, which stands still, is the broker's too
    let rules = ValidateRules { now_ms: 1_700_000_000_000, ..ValidateRules::default() };
    let mut scratch = Vec::new();
    let mut records = 0;
    for bytes in batches {
        let batch = single_batch(Some(bytes))?;
        records += validate(&batch, &rules, &mut scratch)?.records_count as usize;
    }
    Ok(records)
}

#[inline(always)]
fn await_all(deliveries: Vec<Delivery>) -> usize {
    deliveries.into_iter().filter_map(|delivery| black_box(delivery.wait()).ok()).count()
}
