//! Snapshots of the metadata log: written, read, kept and let go (C6).

use std::sync::Arc;

use rohrpost_broker::controller::{
    AlterConfigs, ConfigChange, ConfigOps, LocalController, MetadataLog, MetadataSource, SnapshotPolicy,
    TopicRef,
};
use rohrpost_broker::metadata::{ConfigResource, MetadataImage, Replay};
use rohrpost_log::{MemoryStorage, OpenMode, Storage};
use rohrpost_protocol::metadata_log::{MetadataRecord, RemoveAccessControlEntryRecord};

use crate::support::*;

const DIR: &str = "data/__cluster_metadata-0";
/// So small that the log has many segments.
const SEGMENT_BYTES: u32 = 2000;

/// A snapshot after every change.
const OFTEN: SnapshotPolicy =
    SnapshotPolicy { bytes_between: 1, interval_ms: 0, retention_bytes: -1, retention_ms: -1 };
const NEVER: SnapshotPolicy = SnapshotPolicy { bytes_between: u64::MAX, ..OFTEN };
/// Only the newest is kept.
const SHORT: SnapshotPolicy = SnapshotPolicy { retention_bytes: 0, ..OFTEN };

fn memory() -> (MemoryStorage, Arc<dyn Storage>) {
    let memory = MemoryStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    (memory, storage)
}

fn log(storage: &Arc<dyn Storage>, policy: SnapshotPolicy) -> MetadataLog {
    MetadataLog::with_policy(open_log_with(storage, SEGMENT_BYTES), policy)
}

fn start_with(storage: &Arc<dyn Storage>, policy: SnapshotPolicy) -> LocalController {
    try_start_on(log(storage, policy)).unwrap()
}

/// Names of files in the log's directory that end like this, in order.
fn files(storage: &Arc<dyn Storage>, suffix: &str) -> Vec<String> {
    let entries = storage.list(DIR).unwrap().into_iter().map(|entry| entry.name);
    let mut names: Vec<String> = entries.filter(|name| name.ends_with(suffix)).collect();
    names.sort();
    names
}

/// Changes one byte in the middle of a file.
fn damage(storage: &Arc<dyn Storage>, name: &str) {
    let file = storage.open(&format!("{DIR}/{name}"), OpenMode::Existing).unwrap();
    let at = file.len().unwrap() / 2;
    let byte = file.read_bytes(at, 1).unwrap()[0];
    file.write_at(at, &[byte ^ 0x10]).unwrap();
}

/// What a replay of the directory leads to.
fn image(storage: &Arc<dyn Storage>) -> MetadataImage {
    let mut replay = Replay::new(CLUSTER_ID);
    log(storage, NEVER).replay(&mut replay).unwrap();
    replay.publish();
    MetadataImage::clone(replay.image())
}

/// An image without what a snapshot leaves open: which record was a broker's newest registration (C10).
fn settled(mut image: MetadataImage) -> MetadataImage {
    for broker in image.brokers.values_mut() {
        Arc::make_mut(broker).registration_offset = 0;
    }
    image
}

fn set(controller: &LocalController, resource: (i8, &str), name: &str, value: &str) {
    let resource = ConfigResource { resource_type: resource.0, name: resource.1.to_owned() };
    let ops = ConfigOps::Replace(vec![(name.to_owned(), Some(value.to_owned()))]);
    let request = AlterConfigs { resources: vec![ConfigChange { resource, ops }], validate_only: false };
    controller.alter_configs(&request).remove(0).unwrap();
}

/// Something of everything.
fn fill(controller: &LocalController) {
    let epoch = join(controller, 7000);
    controller.register_broker(&registration(2, 8000, Some("rack"))).unwrap();
    for n in 0..30 {
        create(controller, &format!("topic-{n}")).unwrap();
    }
    set(controller, (2, "topic-3"), "retention.ms", "5");
    set(controller, (4, ""), "log.retention.ms", "6");
    set(controller, (4, "1"), "log.retention.ms", "7");
    controller.delete_topics(&[TopicRef::Name("topic-4".to_owned())]).remove(0).unwrap();
    controller.allocate_producer_ids(1, epoch).unwrap();
    controller.fence_broker(1).unwrap();
}

#[test]
fn a_snapshot_rebuilds_the_image_that_the_log_has_led_to() {
    // C6
    let (_, storage) = memory();
    fill(&start_with(&storage, NEVER));
    let before = image(&storage);
    assert!(files(&storage, ".checkpoint").is_empty());
    log(&storage, NEVER).write_snapshot(&before, NOW_MS).unwrap();
    let name = format!("{:020}-{:010}.checkpoint", before.offset + 1, before.epoch);
    assert_eq!(files(&storage, ".checkpoint"), [name]);
    let after = image(&storage);
    assert!(after.topics().count() == 29 && after.next_producer_id > 0 && after.configs.len() == 2);
    assert_eq!(settled(after), settled(before));
}

#[test]
fn a_start_goes_on_from_the_newest_snapshot() {
    // C6, I12
    let (_, storage) = memory();
    for (run, policy) in [(1, SHORT), (2, SHORT), (3, NEVER), (4, OFTEN), (5, SHORT)] {
        let controller = start_with(&storage, policy);
        assert_eq!(controller.epoch(), run);
        assert_eq!(topic_names(&controller.image()).len() as i32, (run - 1) * 30);
        join(&controller, 5000 + run as u128);
        for n in 0..30 {
            create(&controller, &format!("topic-{run}-{n}")).unwrap();
        }
        if policy == SHORT {
            assert_eq!(files(&storage, ".checkpoint").len(), 1, "only the newest is kept");
            let first = files(&storage, ".log").remove(0);
            assert!(first > format!("{:020}.log", 1), "{first}: the log before it has gone");
        }
    }
    assert_eq!(topic_names(&image(&storage)).len(), 150);
}

#[test]
fn snapshots_are_kept_as_long_as_there_is_room_and_they_are_young() {
    // C6
    let (_, storage) = memory();
    let young = SnapshotPolicy { retention_ms: 1000, ..OFTEN };
    let controller = start_with(&storage, young);
    join(&controller, 5000);
    create(&controller, "a").unwrap();
    let count = files(&storage, ".checkpoint").len();
    assert!(count > 2, "the clock of these tests stands still");
    drop(controller);
    // all but the newest are old now
    let mut log = log(&storage, young);
    let mut replay = Replay::new(CLUSTER_ID);
    log.replay(&mut replay).unwrap();
    replay.publish();
    log.write_snapshot(replay.image(), NOW_MS + 1001).unwrap();
    assert_eq!(files(&storage, ".checkpoint").len(), 1);
    assert_eq!(topic_names(&image(&storage)), ["a"]);
}

#[test]
fn a_damaged_snapshot_is_passed_over_for_the_one_before_it() {
    // C6
    let (_, storage) = memory();
    fill(&start_with(&storage, OFTEN));
    let before = settled(image(&storage));
    let names = files(&storage, ".checkpoint");
    for name in names.iter().rev() {
        damage(&storage, name);
        assert_eq!(settled(image(&storage)), before, "{name} is damaged");
    }
    // none is whole: the log itself still begins at the beginning
    assert_eq!(files(&storage, ".log")[0], "00000000000000000000.log");
}

#[test]
fn a_log_without_its_beginning_needs_a_whole_snapshot() {
    // C6
    let (_, storage) = memory();
    let controller = start_with(&storage, SHORT);
    join(&controller, 5000);
    for n in 0..40 {
        create(&controller, &format!("topic-{n}")).unwrap();
    }
    drop(controller);
    damage(&storage, &files(&storage, ".checkpoint")[0]);
    let error = try_start_on(log(&storage, SHORT)).unwrap_err().to_string();
    assert!(error.contains("no snapshot is whole") && error.contains("data/__cluster_metadata-0"), "{error}");
}

#[test]
fn a_log_that_lost_its_end_goes_on_after_its_snapshot() {
    // C6
    let (_, storage) = memory();
    let controller = start_with(&storage, SHORT);
    join(&controller, 5000);
    create(&controller, "a").unwrap();
    let offset = controller.image().offset;
    drop(controller);
    for name in files(&storage, ".log").into_iter().chain(files(&storage, "index")) {
        storage.remove(&format!("{DIR}/{name}")).unwrap();
    }
    let controller = start_with(&storage, SHORT);
    assert!(controller.image().offset > offset);
    assert_eq!((topic_names(&controller.image()), controller.epoch()), (vec!["a".to_owned()], 2));
    join(&controller, 6000);
    create(&controller, "b").unwrap();
    assert_eq!(topic_names(&image(&storage)), ["a", "b"]);
}

#[test]
fn a_loss_of_power_at_any_change_loses_nothing_that_was_answered() {
    // C6, C21, U6
    let (memory, storage) = memory();
    let mut expected = Vec::new();
    for run in 0..8 {
        let controller = start_with(&storage, SHORT);
        assert_eq!(topic_names(&controller.image()), expected);
        join(&controller, 5000 + run);
        for n in 0..5 {
            let name = format!("topic-{run}-{n}");
            create(&controller, &name).unwrap();
            expected.push(name);
        }
        drop(controller);
        memory.power_loss();
    }
    assert_eq!(topic_names(&image(&storage)), expected);
    // half of a snapshot is removed at the next start
    storage.open(&format!("{DIR}/{:020}-{:010}.checkpoint.part", 5, 1), OpenMode::Truncate).unwrap();
    start_with(&storage, SHORT);
    assert!(files(&storage, ".part").is_empty());
}

#[test]
fn a_snapshot_is_due_by_bytes_or_by_age() {
    // C6
    let (_, storage) = memory();
    let by_age = SnapshotPolicy { interval_ms: 1000, ..NEVER };
    for (policy, after_ms, due) in
        [(NEVER, i64::MAX, false), (OFTEN, 0, true), (by_age, 999, false), (by_age, 1000, true)]
    {
        let mut log = log(&storage, policy);
        let mut replay = Replay::new(CLUSTER_ID);
        log.replay(&mut replay).unwrap();
        log.begin_epoch(1, NOW_MS).unwrap();
        let record = MetadataRecord::NoOp(Default::default()).encode_value(0).unwrap();
        log.append(&[record], NOW_MS).unwrap();
        assert_eq!(log.snapshot_due(NOW_MS.saturating_add(after_ms)), due, "{policy:?} after {after_ms} ms");
    }
}

#[test]
fn what_the_image_does_not_keep_is_not_lost_by_a_snapshot() {
    // C6: the log of another controller may have access control entries
    let (_, storage) = memory();
    join(&start_with(&storage, NEVER), 5000);
    let mut log = log(&storage, NEVER);
    log.replay(&mut Replay::new(CLUSTER_ID)).unwrap();
    log.begin_epoch(1, NOW_MS).unwrap();
    let record = RemoveAccessControlEntryRecord { id: uuid(1 << 70), ..Default::default() };
    log.append(&[MetadataRecord::from(record).encode_value(0).unwrap()], NOW_MS).unwrap();
    drop(log);
    let controller = start_with(&storage, OFTEN);
    join(&controller, 6000);
    create(&controller, "a").unwrap();
    assert!(files(&storage, ".checkpoint").is_empty());
}
