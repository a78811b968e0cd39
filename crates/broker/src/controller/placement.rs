//! Where the replicas of a new topic go: round robin from a drawn start, rack by rack, live brokers first (C22).

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use rohrpost_protocol::ErrorCode;

use super::source::ApiError;
use crate::metadata::{BrokerImage, MetadataImage};

/// The brokers of each of `count` partitions, the preferred leader first.
///
/// Leaders go round the brokers; followers too, with a shift that grows with every round, so that the partitions of one
/// leader spread their followers. As far as there are racks enough, no two replicas share one; live brokers are taken before
/// fenced ones.
///
/// # Errors
/// INVALID_REPLICATION_FACTOR when there are fewer brokers than replicas, or none alive.
pub(super) fn place(
    image: &MetadataImage,
    count: usize,
    factor: usize,
    rng: &mut Rng,
) -> Result<Vec<Vec<i32>>, ApiError> {
    // M2, C22
    let unable = |why: String| {
        ApiError::new(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            format!("Unable to replicate the partition {factor} time(s): {why}"),
        )
    };
    let usable: Vec<&BrokerImage> = image.brokers.values().map(|b| &**b).filter(|b| is_open(b)).collect();
    if factor > usable.len() {
        return Err(unable(format!(
            "The target replication factor of {factor} cannot be reached because only {} broker(s) are registered.",
            usable.len()
        )));
    }
    let (alive, fenced): (Vec<&BrokerImage>, Vec<_>) =
        usable.into_iter().partition(|b| is_active(image, b.id));
    if alive.is_empty() {
        return Err(unable("All brokers are currently fenced.".to_owned()));
    }
    let alive = rack_by_rack(&alive);
    let fenced = rack_by_rack(&fenced);
    let start = rng.usize(..alive.len());
    let mut shift = rng.usize(..alive.len());
    let mut partitions = Vec::with_capacity(count);
    for number in 0..count {
        if number > 0 && number % alive.len() == 0 {
            shift += 1;
        }
        partitions.push(replicas(&alive, &fenced, (start + number) % alive.len(), shift, factor));
    }
    Ok(partitions)
}

/// Whether a broker may lead and be in sync: registered, not fenced, not on its way out.
pub(super) fn is_active(image: &MetadataImage, id: i32) -> bool {
    image.broker(id).is_some_and(|broker| !broker.fenced && !broker.in_controlled_shutdown)
}

/// Whether a broker has a directory for new replicas.
fn is_open(broker: &BrokerImage) -> bool {
    broker.log_dirs.iter().any(|dir| !broker.cordoned_log_dirs.contains(dir))
}

fn replicas(
    alive: &[&BrokerImage],
    fenced: &[&BrokerImage],
    first: usize,
    shift: usize,
    factor: usize,
) -> Vec<i32> {
    let others = alive.len() - 1;
    let followers = (0..others).map(|i| alive[(first + 1 + (shift + i) % others) % alive.len()]);
    let ring: Vec<&BrokerImage> =
        std::iter::once(alive[first]).chain(followers).chain(fenced.iter().copied()).collect();
    let mut chosen: Vec<&BrokerImage> = Vec::with_capacity(factor);
    // first one of each rack, then whoever is left
    for racks_matter in [true, false] {
        for broker in &ring {
            let taken = chosen.iter().any(|c| c.id == broker.id);
            let rack_taken = broker.rack.is_some() && chosen.iter().any(|c| c.rack == broker.rack);
            if chosen.len() < factor && !taken && !(racks_matter && rack_taken) {
                chosen.push(broker);
            }
        }
    }
    chosen.iter().map(|broker| broker.id).collect()
}

/// Brokers in the order of their ids, but so that neighbours are in different racks where that is possible.
fn rack_by_rack<'a>(brokers: &[&'a BrokerImage]) -> Vec<&'a BrokerImage> {
    let mut racks: BTreeMap<Option<&str>, VecDeque<&'a BrokerImage>> = BTreeMap::new();
    for broker in brokers {
        racks.entry(broker.rack.as_deref()).or_default().push_back(broker);
    }
    let mut ordered = Vec::with_capacity(brokers.len());
    while ordered.len() < brokers.len() {
        ordered.extend(racks.values_mut().filter_map(VecDeque::pop_front));
    }
    ordered
}
