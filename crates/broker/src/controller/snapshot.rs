//! Snapshots of the metadata log (C6): the image at one offset as records, in a file `<end offset>-<epoch>.checkpoint` beside the
//! segments. It takes the place of everything below its offset, so that the log does not grow for ever and a start does
//! not read all of it.
//!
//! The file is Kafka's: a control batch with a SnapshotHeader, batches of records, a control batch with a SnapshotFooter; its
//! dump tool reads it. It is written under another name, synced and renamed, so a crash leaves a whole snapshot or none;
//! and a damaged one is passed over for the one before it.

use std::io;
use std::sync::Arc;

use rohrpost_log::{OpenMode, Storage};
use rohrpost_protocol::Uuid;
use rohrpost_protocol::metadata_log::{
    ConfigRecord, ControllerEndpoint, ControllerFeature, FeatureLevelRecord, PartitionRecord,
    ProducerIdsRecord, RegisterBrokerRecord, RegisterControllerRecord, TopicRecord,
};
use rohrpost_record::Batches;
use rohrpost_record::control::{
    ControlBatch, ControlRecord, ControlType, SnapshotFooter, SnapshotHeader, control_batch,
};

use super::local::METADATA_VERSION_FEATURE;
use super::log::{BatchWriter, batches};
use super::records::{Changes, broker_end_points, broker_features};
use super::source::ApiError;
use crate::metadata::{BrokerImage, ConfigResource, ControllerImage, MetadataImage, PartitionImage};

const SUFFIX: &str = ".checkpoint";
/// No cluster's image is so large; a damaged length must not become an allocation. Bytes.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Most that one batch of a snapshot may hold, decompressed. What is written here is plain and far smaller. Bytes.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Which offsets a snapshot contains, by its file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SnapshotId {
    /// All offsets below.
    pub(super) end_offset: i64,
    /// The controller epoch of the last of them.
    pub(super) epoch: i32,
}

/// The snapshots in the directory of a metadata log.
#[derive(Debug)]
pub(super) struct Snapshots {
    storage: Arc<dyn Storage>,
    dir: String,
}

/// What is in a snapshot.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Append time of the last batch that it contains, ms.
    pub(super) timestamp_ms: i64,
    /// The values of its records.
    pub(super) values: Vec<Vec<u8>>,
}

impl Snapshots {
    pub(super) fn new(storage: Arc<dyn Storage>, dir: &str) -> Snapshots {
        Snapshots { storage, dir: dir.to_owned() }
    }

    /// Those that there are, the oldest first.
    pub(super) fn list(&self) -> io::Result<Vec<SnapshotId>> {
        let entries = self.storage.list(&self.dir)?;
        let mut ids: Vec<SnapshotId> =
            entries.iter().filter_map(|entry| SnapshotId::of(&entry.name)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Reads one. The inner error says what is damaged.
    pub(super) fn read(&self, id: SnapshotId) -> io::Result<Result<Snapshot, String>> {
        let file = self.storage.open(&self.path(id), OpenMode::Existing)?;
        let len = file.len()?;
        if len > FILE_BYTES_MAX {
            return Ok(Err(format!("{len} bytes, at most {FILE_BYTES_MAX} are possible")));
        }
        Ok(decode(&file.read_bytes(0, len as usize)?))
    }

    /// Writes one; it is on disk when this returns.
    pub(super) fn write(&self, id: SnapshotId, snapshot: &Snapshot, now_ms: i64) -> io::Result<()> {
        let path = self.path(id);
        let part = format!("{path}.part");
        let file = self.storage.open(&part, OpenMode::Truncate)?;
        file.write_at(0, &encode(id, snapshot, now_ms))?;
        file.sync()?;
        drop(file);
        self.storage.rename(&part, &path)?;
        self.storage.sync_dir(&self.dir)
    }

    /// Bytes of one.
    pub(super) fn size(&self, id: SnapshotId) -> io::Result<u64> {
        self.storage.open(&self.path(id), OpenMode::Existing)?.len()
    }

    pub(super) fn remove(&self, id: SnapshotId) -> io::Result<()> {
        self.storage.remove(&self.path(id))
    }

    /// Removes what a crash in the middle of a write has left.
    pub(super) fn remove_parts(&self) -> io::Result<()> {
        for entry in self.storage.list(&self.dir)? {
            if entry.name.strip_suffix(".part").and_then(SnapshotId::of).is_some() {
                self.storage.remove(&format!("{}/{}", self.dir, entry.name))?;
            }
        }
        Ok(())
    }

    fn path(&self, SnapshotId { end_offset, epoch }: SnapshotId) -> String {
        format!("{}/{end_offset:020}-{epoch:010}{SUFFIX}", self.dir)
    }
}

impl SnapshotId {
    fn of(name: &str) -> Option<SnapshotId> {
        let (end_offset, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let is_number = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(end_offset, 20) || !is_number(epoch, 10) {
            return None;
        }
        Some(SnapshotId { end_offset: end_offset.parse().ok()?, epoch: epoch.parse().ok()? })
    }
}

impl Snapshot {
    /// What rebuilds an image.
    pub(super) fn of(image: &MetadataImage, timestamp_ms: i64) -> Result<Snapshot, ApiError> {
        // C6
        let mut changes = Changes::default();
        let is_first = |(name, _): &(&String, &i16)| *name == METADATA_VERSION_FEATURE;
        let (first, others): (Vec<_>, Vec<_>) = image.features.iter().partition(is_first);
        // the level of metadata.version says how the others are to be read
        for (name, level) in first.into_iter().chain(others) {
            changes.push(FeatureLevelRecord { name, feature_level: *level, ..Default::default() })?;
        }
        for controller in image.controllers.values() {
            changes.push(controller_record(controller))?;
        }
        for broker in image.brokers.values() {
            changes.push(broker_record(broker))?;
        }
        for topic in image.topics() {
            // C3
            changes.push(TopicRecord { name: &topic.name, topic_id: topic.id, ..Default::default() })?;
            push_configs(&mut changes, ConfigResource::TOPIC, &topic.name, &topic.configs)?;
            for (number, partition) in topic.partitions.iter().enumerate() {
                changes.push(partition_record(topic.id, number as i32, partition))?;
            }
        }
        for (resource, configs) in &image.configs {
            push_configs(&mut changes, resource.resource_type, &resource.name, configs)?;
        }
        if image.next_producer_id > 0 {
            changes.push(ProducerIdsRecord {
                broker_id: -1,
                broker_epoch: -1,
                next_producer_id: image.next_producer_id,
                ..Default::default()
            })?;
        }
        Ok(Snapshot { timestamp_ms, values: changes.into_values() })
    }
}

fn push_configs<'a>(
    changes: &mut Changes,
    resource_type: i8,
    resource_name: &'a str,
    configs: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), ApiError> {
    for (name, value) in configs {
        changes.push(ConfigRecord {
            resource_type,
            resource_name,
            name,
            value: Some(value),
            ..Default::default()
        })?;
    }
    Ok(())
}

fn controller_record(controller: &ControllerImage) -> RegisterControllerRecord<'_> {
    RegisterControllerRecord {
        controller_id: controller.id,
        incarnation_id: controller.incarnation_id,
        end_points: controller
            .end_points
            .iter()
            .map(|e| ControllerEndpoint {
                name: &e.name,
                host: &e.host,
                port: e.port,
                security_protocol: e.security_protocol,
                ..Default::default()
            })
            .collect(),
        features: controller
            .features
            .iter()
            .map(|(name, range)| ControllerFeature {
                name,
                min_supported_version: range.min,
                max_supported_version: range.max,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn broker_record(broker: &BrokerImage) -> RegisterBrokerRecord<'_> {
    RegisterBrokerRecord {
        broker_id: broker.id,
        incarnation_id: broker.incarnation_id,
        broker_epoch: broker.epoch,
        end_points: broker_end_points(&broker.end_points),
        features: broker_features(&broker.features),
        rack: broker.rack.as_deref(),
        fenced: broker.fenced,
        in_controlled_shutdown: broker.in_controlled_shutdown,
        log_dirs: broker.log_dirs.clone(),
        cordoned_log_dirs: (!broker.cordoned_log_dirs.is_empty()).then(|| broker.cordoned_log_dirs.clone()),
        ..Default::default()
    }
}

fn partition_record(topic_id: Uuid, partition_id: i32, partition: &PartitionImage) -> PartitionRecord {
    let unless_empty = |ids: &Vec<i32>| (!ids.is_empty()).then(|| ids.clone());
    PartitionRecord {
        partition_id,
        topic_id,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        removing_replicas: partition.removing_replicas.clone(),
        adding_replicas: partition.adding_replicas.clone(),
        leader: partition.leader,
        leader_recovery_state: partition.leader_recovery_state as i8,
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        directories: partition.directories.clone(),
        eligible_leader_replicas: unless_empty(&partition.elr),
        last_known_elr: unless_empty(&partition.last_known_elr),
        ..Default::default()
    }
}

/// The bytes of the file. Offsets within it count from 0.
fn encode(id: SnapshotId, snapshot: &Snapshot, now_ms: i64) -> Vec<u8> {
    // C6
    let mut bytes = Vec::new();
    let mut value = Vec::new();
    SnapshotHeader { version: 0, last_contained_log_timestamp: snapshot.timestamp_ms }.encode(&mut value);
    let control = |base_offset| ControlBatch { base_offset, leader_epoch: id.epoch, timestamp: now_ms };
    control_batch(&mut bytes, control(0), &[(ControlType::SnapshotHeader, &value)]);
    let mut offset = 1;
    for part in batches(&snapshot.values) {
        let mut batch = BatchWriter::new(false);
        for value in part {
            batch.push(now_ms, None, value);
        }
        bytes.extend_from_slice(&batch.finish(offset, id.epoch));
        offset += part.len() as i64;
    }
    value.clear();
    SnapshotFooter { version: 0 }.encode(&mut value);
    control_batch(&mut bytes, control(offset), &[(ControlType::SnapshotFooter, &value)]);
    bytes
}

/// Takes a file apart. Only one that is whole is worth anything: a record that is missing would be a topic that is gone.
fn decode(bytes: &[u8]) -> Result<Snapshot, String> {
    // C6
    let mut scratch = Vec::new();
    let mut values = Vec::new();
    let mut timestamp_ms = None;
    let mut is_whole = false;
    for batch in Batches::new(bytes) {
        let batch = batch.map_err(|error| error.to_string())?;
        let at = batch.header().base_offset;
        if !batch.is_crc_valid() {
            return Err(format!("the checksum of the batch at {at} is wrong"));
        }
        if is_whole {
            return Err(format!("a batch at {at} after the footer"));
        }
        let is_control = batch.header().attributes.is_control();
        let records = batch.records(&mut scratch, BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
        for record in records {
            let record = record.map_err(|error| error.to_string())?;
            let value =
                record.value.ok_or_else(|| format!("the record at {} has no value", record.offset))?;
            if !is_control {
                if timestamp_ms.is_none() {
                    return Err("it does not begin with a header".to_owned());
                }
                values.push(value.to_vec());
                continue;
            }
            let key = record.key.unwrap_or_default();
            match ControlRecord::read(key, value).map_err(|error| error.to_string())? {
                ControlRecord::SnapshotHeader(header) => {
                    timestamp_ms = Some(header.last_contained_log_timestamp);
                }
                ControlRecord::SnapshotFooter(_) => is_whole = true,
                // of a quorum with voters; nothing in it concerns the image
                _ => {}
            }
        }
    }
    match timestamp_ms {
        Some(timestamp_ms) if is_whole => Ok(Snapshot { timestamp_ms, values }),
        _ => Err("it has no header or no footer: it was cut short".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use rohrpost_log::MemoryStorage;

    use super::*;

    const ID: SnapshotId = SnapshotId { end_offset: 17, epoch: 3 };

    fn snapshot() -> Snapshot {
        Snapshot { timestamp_ms: 5, values: (0..4000u32).map(|n| n.to_be_bytes().repeat(100)).collect() }
    }

    #[test]
    fn a_snapshot_is_named_by_what_it_contains() {
        // C6
        let storage = Arc::new(MemoryStorage::new());
        storage.create_dir("m").unwrap();
        let snapshots = Snapshots::new(storage.clone(), "m");
        snapshots.write(ID, &snapshot(), 9).unwrap();
        let names: Vec<String> = storage.list("m").unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["00000000000000000017-0000000003.checkpoint"]);
        assert_eq!(snapshots.list().unwrap(), [ID]);
        let read = snapshots.read(ID).unwrap().unwrap();
        assert_eq!((read.timestamp_ms, read.values), (5, snapshot().values));
        for name in ["17-3.checkpoint", "00000000000000000017-0000000003.checkpoint.part", "x.checkpoint", ""]
        {
            assert_eq!(SnapshotId::of(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_damaged_or_cut_short_is_no_snapshot() {
        // C6
        let snapshot = Snapshot { timestamp_ms: 5, values: vec![vec![1, 2, 3], vec![4; 50]] };
        let bytes = encode(ID, &snapshot, 9);
        assert_eq!(decode(&bytes).unwrap().values, snapshot.values);
        for end in 0..bytes.len() {
            decode(&bytes[..end]).unwrap_err();
        }
        // every byte that a checksum covers; base offset, length and leader epoch are not
        for at in 21..61 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            decode(&flipped).unwrap_err();
        }
        decode(&[&bytes[..], &bytes[..]].concat()).unwrap_err();
    }
}
