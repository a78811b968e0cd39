//! What a consumer would read at the end, for the checker.

use rohrpost_log::Log;
use rohrpost_protocol::Uuid;
use rohrpost_record::Batches;

use super::{Cluster, Key};

/// More than a simulated batch ever decompresses to.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// A record in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedRecord {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// The producer's id, epoch and the record's sequence; -1 without.
    pub producer: (i64, i16, i32),
    /// The leader epoch that wrote it.
    pub leader_epoch: i32,
    /// It lies below the high watermark. Some time after [`Cluster::heal`], all do; in a deleted topic the last may not.
    pub committed: bool,
}

/// One topic of a name that may have been created several times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// Its id.
    pub id: Uuid,
    /// Its partitions.
    pub partitions: i32,
    /// It is there no more.
    pub deleted: bool,
}

impl Cluster {
    /// The names of all topics that there ever were, in the order of their first creation.
    pub fn topic_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for topic in &self.topics {
            if !names.contains(&topic.spec.name.as_str()) {
                names.push(&topic.spec.name);
            }
        }
        names
    }

    /// All topics of this name, in the order of their creation.
    pub fn incarnations(&self, topic: &str) -> Vec<Incarnation> {
        let named = self.topics.iter().filter(|known| known.spec.name == topic);
        let incarnations = named.map(|known| Incarnation {
            id: known.id,
            partitions: known.partitions.len() as i32,
            deleted: known.deleted,
        });
        incarnations.collect()
    }

    /// The log of a partition of the topic that has this name now; empty if there is none. To be asked some time after
    /// [`heal`](Cluster::heal).
    pub fn committed(&self, topic: &str, partition: i32) -> Vec<CommittedRecord> {
        self.image.topic(topic).map_or_else(Vec::new, |found| self.committed_of(found.id, partition))
    }

    /// The log of a partition of one topic; of a deleted one, as it was in the end.
    pub fn committed_of(&self, id: Uuid, partition: i32) -> Vec<CommittedRecord> {
        let Some(&number) = self.by_id.get(&id) else { return Vec::new() };
        let topic = &self.topics[number];
        let key = (number, partition);
        if topic.deleted {
            let truth = topic.partitions.get(partition as usize);
            return truth
                .and_then(|t| t.archive.as_ref())
                .map_or_else(Vec::new, |(.., records)| records.clone());
        }
        let leader = self.image.topic_by_id(id).and_then(|t| t.partition(partition)).map_or(-1, |p| p.leader);
        self.records_on(leader, key).map_or_else(Vec::new, |(.., records)| records)
    }

    /// Whether every replica that is in sync has what the leader has, up to the high watermark, byte for byte; and some time
    /// after [`heal`](Cluster::heal) whether everything is committed.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_replicas(&self, healed: bool) -> Result<(), String> {
        for (number, topic) in self.topics.iter().enumerate().filter(|(_, topic)| !topic.deleted) {
            let Some(image) = self.image.topic_by_id(topic.id) else { continue };
            for (index, partition) in image.partitions.iter().enumerate() {
                let key = (number, index as i32);
                let name = format!("{}-{index}", topic.spec.name);
                let leader = self.broker(partition.leader).and_then(|b| b.replicas.get(&key));
                let Some((replica, log)) = leader.and_then(|r| Some((r, r.online().ok()?))) else {
                    if healed {
                        return Err(format!("{name} has no leader"));
                    }
                    continue;
                };
                if healed && (replica.high_watermark != log.log_end_offset() || !replica.is_leader) {
                    let (end, committed) = (log.log_end_offset(), replica.high_watermark);
                    return Err(format!("{name} ends at {end}, and only {committed} are committed"));
                }
                let upto = replica.high_watermark;
                let bytes = all_bytes(log, upto);
                for node in partition.isr.iter().filter(|node| **node != partition.leader) {
                    let other = self.broker(*node).and_then(|b| b.replicas.get(&key)?.online().ok());
                    let Some(other) = other.filter(|_| replica.is_leader) else { continue };
                    if replica.leader_epoch == partition.leader_epoch && all_bytes(other, upto) != bytes {
                        return Err(format!(
                            "{name}: broker {node} differs from {} below {upto}",
                            partition.leader
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// All records on one broker, with the latest epoch of the log and its end; `None` if the log is not there.
    fn records_on(&self, node: i32, key: Key) -> Option<(i32, i64, Vec<CommittedRecord>)> {
        let replica = self.broker(node)?.replicas.get(&key)?;
        let log = replica.log.as_ref()?;
        let bytes = all_bytes(log, i64::MAX)?;
        let mut records = Vec::new();
        let mut scratch = Vec::new();
        for batch in Batches::new(&bytes) {
            let Ok(batch) = batch else { break };
            let header = *batch.header();
            let Ok(decoded) = batch.records(&mut scratch, DECOMPRESSED_BYTES_MAX) else { break };
            records.extend(decoded.filter_map(Result::ok).map(|record| CommittedRecord {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                producer: (header.producer_id, header.producer_epoch, record.sequence),
                leader_epoch: header.partition_leader_epoch,
                committed: record.offset < replica.high_watermark,
            }));
        }
        Some((log.latest_epoch().unwrap_or(-1), log.log_end_offset(), records))
    }

    /// Keeps what a replica of a topic that is being deleted has, if it is the most telling so far.
    pub(super) fn archive(&mut self, node: i32, key: Key) {
        let Some(found) = self.records_on(node, key) else { return };
        let Some(truth) = self.topics[key.0].partitions.get_mut(key.1 as usize) else { return };
        let better = truth.archive.as_ref().is_none_or(|known| {
            let committed = |records: &[CommittedRecord]| records.iter().filter(|r| r.committed).count();
            (known.0, known.1, committed(&known.2)) < (found.0, found.1, committed(&found.2))
        });
        if better {
            truth.archive = Some(found);
        }
    }
}

/// `None`: it cannot be read, for its disk has failed.
fn all_bytes(log: &Log, upto: i64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < upto.min(log.log_end_offset()) {
        let read = log.read(offset, 1 << 20, upto, true).ok()?;
        if read.records.is_empty() {
            break;
        }
        bytes.extend_from_slice(&read.records);
        offset = read.next_offset;
    }
    Some(bytes)
}
