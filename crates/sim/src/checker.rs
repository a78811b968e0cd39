//! The judge: what users were told, against the logs as a consumer would read them at the end.
//!
//! What is promised depends on settings and faults ([`promises`]); some things always hold: a record that is
//! `NotWritten`, or was never accepted, is nowhere; every outcome is told once; counts add up; memory is back.

use std::collections::BTreeMap;

use rohrpost::{Metrics, Outcome, Reason};

use crate::bounds;
use crate::cluster::{Cluster, CommittedRecord};
use crate::history::{History, Id, Told};
use crate::plan::Plan;
use crate::promises;
use crate::user::{id_of, value};

/// Where a record was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Which of the topics of that name.
    incarnation: usize,
    partition: i32,
    offset: i64,
}

/// Notes everything that is not as promised.
pub fn check(plan: &Plan, history: &mut History, cluster: &Cluster, metrics: &Metrics) {
    let places = read_logs(plan, history, cluster);
    check_outcomes(plan, history, cluster, &places);
    check_counts(plan, history, metrics, &places);
    check_purged(history);
    bounds::check(plan, history, cluster, metrics);
    if let Err(text) = cluster.check_replicas(true) {
        history.violation("replicas differ", text);
    }
}

/// Every record in every log is one that was accepted, as it was sent, and in order.
fn read_logs(plan: &Plan, history: &mut History, cluster: &Cluster) -> BTreeMap<Id, Vec<Place>> {
    let mut places: BTreeMap<Id, Vec<Place>> = BTreeMap::new();
    let is_ordered = promises::of(plan).ordered;
    for topic in cluster.topic_names() {
        for (incarnation, known) in cluster.incarnations(topic).into_iter().enumerate() {
            for partition in 0..known.partitions {
                let mut last: Option<(u32, Id)> = None;
                for record in cluster.committed_of(known.id, partition) {
                    let at = format!(
                        "{topic}-{partition} (the {}. of that name) at {}",
                        incarnation + 1,
                        record.offset
                    );
                    let Some((id, number)) = identify(plan, history, topic, &record, &at) else { continue };
                    let place = Place { incarnation, partition, offset: record.offset };
                    places.entry(id).or_default().push(place);
                    if let Some((before, other)) = last
                        && before > number
                        && is_ordered
                    {
                        history.violation(
                            "out of order",
                            format!("{at}: record {id}, the {number}. accepted, follows record {other}, the {before}."),
                        );
                    }
                    last = Some((number, id));
                }
            }
        }
    }
    places
}

/// Whose record this is: its id, and its number among the accepted ones.
fn identify(
    plan: &Plan,
    history: &mut History,
    topic: &str,
    record: &CommittedRecord,
    at: &str,
) -> Option<(Id, u32)> {
    let found = record.value.as_deref().and_then(|bytes| Some((id_of(bytes)?, bytes)));
    let Some((id, bytes)) = found else {
        history.violation("foreign record", format!("{at}: a record that nobody sent"));
        return None;
    };
    let Some(life) = history.lives.get(id as usize) else {
        history.violation("foreign record", format!("{at}: record {id}, which nobody sent"));
        return None;
    };
    let key = life.key.map(|key| key.to_be_bytes().to_vec());
    let is_as_sent = bytes == value(id, life.len) && record.key == key && plan.topics[life.topic] == topic;
    let accepted = life.accepted;
    if !is_as_sent {
        history.violation("changed record", format!("{at}: record {id} is not as it was sent"));
    }
    match accepted {
        Some((number, _)) => Some((id, number)),
        None => {
            history.violation("refused record in the log", format!("{at}: record {id} was never accepted"));
            None
        }
    }
}

fn check_outcomes(plan: &Plan, history: &mut History, cluster: &Cluster, places: &BTreeMap<Id, Vec<Place>>) {
    let promises = promises::of(plan);
    let mut violations = Vec::new();
    for (id, life) in history.lives.iter().enumerate() {
        let found = places.get(&(id as Id)).map_or(&[][..], Vec::as_slice);
        let name = || format!("record {id} to {}, told {:?}", plan.topics[life.topic], life.told);
        if promises.once && is_twice(found) {
            violations.push(("written twice", format!("{}: found at {found:?}", name())));
        }
        if life.accepted.is_some() && life.callbacks == Some(0) {
            violations.push(("no callback", name()));
        }
        match life.told {
            Some(Told::NotWritten { .. }) if !found.is_empty() => {
                violations.push(("falsely not written", format!("{}: found at {found:?}", name())));
            }
            Some(Told::Acked { partition, offset }) if promises.kept => {
                let is_there = found
                    .iter()
                    .any(|place| place.partition == partition && offset.is_none_or(|at| at == place.offset));
                if !is_there && !promises::may_be_lost(cluster, &plan.topics[life.topic], partition, offset) {
                    let kind = if found.is_empty() { "lost" } else { "at another place" };
                    violations.push((kind, format!("{}: found at {found:?}", name())));
                }
            }
            _ => {}
        }
    }
    for (kind, text) in violations {
        history.violation(kind, text);
    }
}

/// At most once in each topic; a topic that was created anew is another one.
fn is_twice(found: &[Place]) -> bool {
    found
        .iter()
        .enumerate()
        .any(|(n, place)| found[..n].iter().any(|other| other.incarnation == place.incarnation))
}

/// FLU-4: what a purge has given back ended by that purge, with the outcome that it said.
fn check_purged(history: &mut History) {
    let is_wrong = |(id, outcome): &(Id, Outcome)| {
        let told = history.lives.get(*id as usize).map(|life| life.told);
        match (told, outcome) {
            (Some(None), _) => false, // its handle was dropped
            (Some(Some(Told::NotWritten { reason, .. })), Outcome::NotWritten)
            | (Some(Some(Told::Unknown { reason, .. })), Outcome::Unknown) => reason != Reason::Purged,
            _ => true,
        }
    };
    if let Some((id, outcome)) = history.purged.iter().copied().find(is_wrong) {
        let told = history.lives.get(id as usize).and_then(|life| life.told);
        history.violation(
            "purge report",
            format!("record {id} was given back as {outcome:?}, and was told {told:?}"),
        );
    }
}

fn check_counts(plan: &Plan, history: &mut History, metrics: &Metrics, places: &BTreeMap<Id, Vec<Place>>) {
    let ended = metrics.records_acked
        + metrics.records_handed_over
        + metrics.records_not_written
        + metrics.records_unknown;
    if metrics.records_pending != 0 || ended != u64::from(history.accepted) {
        let text = format!("{} records were accepted, {metrics:?}", history.accepted);
        history.violation("counts", text);
    }
    // BUF-1
    if metrics.buffer_available_bytes != metrics.buffer_total_bytes {
        let (free, total) = (metrics.buffer_available_bytes, metrics.buffer_total_bytes);
        history.violation("memory", format!("{free} of {total} bytes are free in the end"));
    }
    let mut told = [0_u64; 4];
    for life in &history.lives {
        match life.told {
            Some(Told::Acked { .. }) => told[0] += 1,
            Some(Told::HandedOver { .. }) => told[1] += 1,
            Some(Told::NotWritten { reason, .. }) if reason != rohrpost::Reason::Refused => told[2] += 1,
            Some(Told::Unknown { .. }) => told[3] += 1,
            _ => {}
        }
    }
    let counted = [
        metrics.records_acked,
        metrics.records_handed_over,
        metrics.records_not_written,
        metrics.records_unknown,
    ];
    if told.iter().zip(counted).any(|(told, counted)| *told > counted) {
        history.violation("counts", format!("users were told {told:?}, {metrics:?}"));
    }
    // Records whose handles were dropped count, too.
    let in_logs = places.len() as u64;
    let promises = promises::of(plan);
    let may_be_there = metrics.records_acked + metrics.records_handed_over + metrics.records_unknown;
    if promises.once && in_logs > may_be_there {
        history.violation("falsely not written", format!("{in_logs} records are in the logs, {metrics:?}"));
    }
}
