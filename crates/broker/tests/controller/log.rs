//! The controller on a real log: restarts, torn tails, transactions, failing disks, listeners.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rohrpost_broker::controller::{CreateTopics, MetadataSource, NewTopic, TopicRef};
use rohrpost_broker::metadata::MetadataImage;
use rohrpost_log::{Fault, MemoryStorage, OpenMode, Storage};
use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::metadata_log::MetadataRecord;
use rohrpost_record::Batches;
use rohrpost_record::control::ControlRecord;

use crate::support::*;

const SEGMENT: &str = "data/__cluster_metadata-0/00000000000000000000.log";

fn memory() -> (MemoryStorage, Arc<dyn Storage>) {
    let memory = MemoryStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(memory.clone());
    (memory, storage)
}

fn segment(storage: &Arc<dyn Storage>) -> Vec<u8> {
    let file = storage.open(SEGMENT, OpenMode::Existing).unwrap();
    file.read_bytes(0, file.len().unwrap() as usize).unwrap().to_vec()
}

/// The names of the metadata records in whole batches.
fn records(bytes: &[u8]) -> impl Iterator<Item = &'static str> {
    let batches = Batches::new(bytes).map(Result::unwrap).filter(|b| !b.header().attributes.is_control());
    batches.flat_map(|batch| {
        let mut scratch = Vec::new();
        let records = batch.records(&mut scratch, 1000).unwrap();
        records
            .map(|r| MetadataRecord::decode_value(r.unwrap().value.unwrap()).unwrap().0.name())
            .collect::<Vec<_>>()
    })
}

/// Whatever does not change when a controller starts again.
fn lasting(image: &MetadataImage) -> (Vec<String>, i64, Vec<(String, i16)>) {
    let features = image.features.iter().map(|(name, level)| (name.clone(), *level)).collect();
    (topic_names(image), image.next_producer_id, features)
}

#[test]
fn a_new_log_begins_with_a_leader_change_and_one_bootstrap_transaction() {
    // C7, C23
    let (_, storage) = memory();
    let controller = start(&storage);
    let bytes = segment(&storage);
    let batches: Vec<_> = Batches::new(&bytes).map(Result::unwrap).collect();
    assert!(batches.iter().all(|b| b.is_crc_valid() && b.header().partition_leader_epoch == 1));
    let mut scratch = Vec::new();
    let first = batches[0].records(&mut scratch, 1000).unwrap().next().unwrap().unwrap();
    assert!(batches[0].header().attributes.is_control());
    match ControlRecord::read(first.key.unwrap(), first.value.unwrap()).unwrap() {
        ControlRecord::LeaderChange(change) => assert_eq!(change.leader_id, 1),
        other => panic!("{other:?}"),
    }
    let names: Vec<&str> = records(&bytes).collect();
    let expected =
        ["BeginTransactionRecord", "FeatureLevelRecord", "EndTransactionRecord", "RegisterControllerRecord"];
    assert_eq!(names, expected);
    assert_eq!(controller.image().features["metadata.version"], 30);
}

#[test]
fn every_start_is_a_new_epoch_and_finds_what_was_there() {
    // C7, I12
    let (memory, storage) = memory();
    let mut before = None;
    for run in 1..=4 {
        let controller = start(&storage);
        assert_eq!(controller.epoch(), run);
        assert!(before.is_none_or(|before| before == lasting(&controller.image())));
        let broker_epoch = join(&controller, 5000 + run as u128);
        create(&controller, &format!("run-{run}")).unwrap();
        let block = controller.allocate_producer_ids(1, broker_epoch).unwrap();
        assert_eq!(block.first, 1000 * i64::from(run - 1));
        before = Some(lasting(&controller.image()));
        // every other time the machine loses power instead of stopping
        if run % 2 == 0 {
            memory.power_loss();
        } else {
            controller.stop().unwrap().close().unwrap();
        }
    }
}

#[test]
fn a_change_that_was_answered_survives_a_power_loss() {
    // C21
    let (memory, storage) = memory();
    let controller = start(&storage);
    join(&controller, 5000);
    create(&controller, "kept").unwrap();
    memory.power_loss();
    assert_eq!(topic_names(&start(&storage).image()), ["kept"]);
}

#[test]
fn a_broker_that_was_left_unfenced_is_fenced_at_the_next_start_and_leads_again_after_it_joins() {
    let (_, storage) = memory();
    let controller = start(&storage);
    join(&controller, 5000);
    create(&controller, "t").unwrap();
    drop(controller);
    let controller = start(&storage);
    assert!(!controller.image().is_alive(1));
    assert_eq!(controller.image().partition("t", 0).unwrap().leader, -1);
    join(&controller, 5001);
    let image = controller.image();
    let partition = image.partition("t", 0).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch, &partition.isr[..]), (1, 2, &[1][..]));
}

#[test]
fn wherever_the_log_is_cut_a_start_finds_what_was_live_at_the_last_whole_change() {
    // invariant 12, C5
    let (_, storage) = memory();
    let controller = start(&storage);
    // where the log ended, and what was live there
    let mut live = vec![(segment(&storage).len(), vec![], 0)];
    let broker_epoch = join(&controller, 5000);
    for n in 0..4 {
        create(&controller, &format!("topic-{n}")).unwrap();
        live.push((segment(&storage).len(), topic_names(&controller.image()), 1000 * n));
        controller.allocate_producer_ids(1, broker_epoch).unwrap();
        live.push((segment(&storage).len(), topic_names(&controller.image()), 1000 * (n + 1)));
    }
    controller.delete_topics(&[TopicRef::Name("topic-2".into())]).remove(0).unwrap();
    live.push((segment(&storage).len(), topic_names(&controller.image()), 4000));
    drop(controller);
    let bytes = segment(&storage);
    for cut in (0..=bytes.len()).step_by(13) {
        let file = storage.open(SEGMENT, OpenMode::Existing).unwrap();
        file.set_len(0).unwrap();
        file.write_at(0, &bytes[..cut]).unwrap();
        storage.remove("data/__cluster_metadata-0/leader-epoch-checkpoint").unwrap();
        let image = start(&storage).image();
        let (_, topics, ids) = live.iter().rev().find(|(end, ..)| *end <= cut).unwrap_or(&live[0]);
        assert_eq!((&topic_names(&image), image.next_producer_id), (topics, *ids), "cut at {cut}");
        assert_eq!(image.features["metadata.version"], 30);
    }
}

#[test]
fn a_change_larger_than_a_batch_is_one_transaction_and_half_of_it_is_none() {
    // C5
    let (_, storage) = memory();
    let controller = start(&storage);
    join(&controller, 5000);
    create(&controller, "small").unwrap();
    let before = segment(&storage).len() as u64;
    let topics = (0..2).map(|n| NewTopic::new(format!("{n}"), 5000, 1)).collect();
    let answers = controller.create_topics(&CreateTopics { topics, validate_only: false });
    assert!(answers.iter().all(Result::is_ok));
    let live = controller.image();
    assert_eq!(live.topic_count(), 3);
    drop(controller);

    let bytes = segment(&storage);
    let tail: Vec<_> = Batches::new(&bytes[before as usize..]).map(Result::unwrap).collect();
    assert!(tail.len() > 1, "the change has several batches");
    let again = start(&storage);
    assert_eq!(topic_names(&again.image()), topic_names(&live));
    drop(again);

    let half = before + tail[0].header().total_len() as u64;
    storage.open(SEGMENT, OpenMode::Existing).unwrap().set_len(half).unwrap();
    let again = start(&storage);
    assert_eq!(topic_names(&again.image()), ["small"]);
    // and the log that goes on after the abort reads the same for everybody else
    join(&again, 5001);
    create(&again, "after").unwrap();
    drop(again);
    assert_eq!(topic_names(&start(&storage).image()), ["after", "small"]);
    // C23: bootstrapped once, not again because the log began with an open end
    let bytes = segment(&storage);
    let features = records(&bytes).filter(|name| *name == "FeatureLevelRecord").count();
    assert_eq!(features, 1);
}

#[test]
fn a_failing_disk_is_an_error_and_ends_all_changes() {
    // C21, D31: what could not be synced is not answered as done
    let (memory, storage) = memory();
    let controller = start(&storage);
    join(&controller, 5000);
    memory.inject(Fault::FailSync(1));
    assert_eq!(code(&create(&controller, "t")), ErrorCode::KAFKA_STORAGE_ERROR);
    memory.clear_faults();
    assert_eq!(code(&create(&controller, "u")), ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(controller.image().topic_count(), 0);
    assert!(controller.stop().is_none());
}

#[test]
fn listeners_have_seen_a_change_when_its_answer_comes_and_see_all_in_order() {
    // M3
    let (_, storage) = memory();
    let controller = Arc::new(start(&storage));
    join(&controller, 5000);
    create(&controller, "first").unwrap();
    let follower = Arc::new(Mutex::new(Follower::default()));
    let seen = follower.clone();
    controller.subscribe(Box::new(move |image, delta| {
        let mut follower = seen.lock().unwrap();
        follower.apply(delta);
        assert_eq!(*follower, Follower::of(image), "every step follows the one before");
    }));
    assert_eq!(follower.lock().unwrap().partitions.len(), 1);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (controller, follower) = (controller.clone(), follower.clone());
            std::thread::spawn(move || {
                for n in 0..10 {
                    let created = create(&controller, &format!("{thread}-{n}")).unwrap();
                    assert!(follower.lock().unwrap().partitions.contains_key(&(created.id, 0)));
                    assert!(controller.image().topic_by_id(created.id).is_some());
                    if n % 2 == 0 {
                        controller.delete_topics(&[TopicRef::Id(created.id)]).remove(0).unwrap();
                        assert!(!follower.lock().unwrap().partitions.contains_key(&(created.id, 0)));
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(*follower.lock().unwrap(), Follower::of(&controller.image()));
    assert_eq!(controller.image().topic_count(), 21);
}

#[test]
fn a_listener_may_propose_without_waiting_for_itself() {
    let (_, storage) = memory();
    let controller = Arc::new(start(&storage));
    join(&controller, 5000);
    let calls = Arc::new(AtomicUsize::new(0));
    let (inner, counted) = (Arc::downgrade(&controller), calls.clone());
    controller.subscribe(Box::new(move |image, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        if image.topic("outer").is_some() && image.topic("inner").is_none() {
            create(&inner.upgrade().unwrap(), "inner").unwrap();
        }
    }));
    create(&controller, "outer").unwrap();
    assert_eq!(topic_names(&controller.image()), ["inner", "outer"]);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[test]
fn a_log_of_a_newer_version_stops_the_start_with_a_clear_message() {
    // C4
    use rohrpost_broker::controller::MetadataLog;
    let (_, storage) = memory();
    drop(start(&storage));
    let mut log = MetadataLog::new(open_log(&storage));
    log.append(&[vec![1, 120, 0, 0]], NOW_MS).unwrap();
    drop(log);
    let error = try_start(&storage).unwrap_err().to_string();
    assert!(error.contains("120") && error.contains("use the version that wrote it"), "{error}");
}
