//! Brokers, controllers and logs for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use rohrpost_broker::config::BrokerConfig;
use rohrpost_broker::controller::{
    ApiError, BrokerHeartbeat, BrokerRegistration, Controller, ControllerError, ControllerSettings,
    CreateTopics, CreatedTopic, LocalController, MetadataLog, MetadataSource, NewTopic, Proposal,
    StartOptions,
};
use rohrpost_broker::metadata::{
    CLUSTER_METADATA_TOPIC, CLUSTER_METADATA_TOPIC_ID, EndPoint, FeatureRange, MetadataDelta, MetadataImage,
    PartitionImage, Replay,
};
use rohrpost_log::{Identity, Log, LogDir, Storage};
use rohrpost_protocol::metadata_log::{MetadataRecord, PartitionChangeRecord};
use rohrpost_protocol::{ErrorCode, Uuid};

pub(crate) const CLUSTER_ID: &str = "AAAAAAAAAAAAAAAAAAAAZZ";
pub(crate) const DATA_DIR: &str = "data";
pub(crate) const NOW_MS: i64 = 1_750_000_000_000;

/// A controller without a log: what is proposed is committed at once.
pub(crate) struct Bench {
    pub(crate) controller: Controller,
    pub(crate) next_offset: i64,
    /// Every record so far with its offset.
    pub(crate) records: Vec<(i64, Vec<u8>)>,
}

impl Bench {
    pub(crate) fn new(pairs: &[(&str, &str)]) -> Bench {
        Bench::with_seed(pairs, 7)
    }

    pub(crate) fn with_seed(pairs: &[(&str, &str)], seed: u64) -> Bench {
        let controller = Controller::new(settings(pairs), Replay::new(CLUSTER_ID), seed);
        let mut bench = Bench { controller, next_offset: 0, records: Vec::new() };
        let begin = bench.controller.begin_epoch().unwrap();
        bench.commit(begin);
        bench
    }

    /// With brokers 1 to `count`, alive.
    pub(crate) fn with_brokers(count: i32, pairs: &[(&str, &str)]) -> Bench {
        let mut bench = Bench::new(pairs);
        bench.start_brokers(count);
        bench
    }

    /// Brokers 1 to `count`, alive.
    pub(crate) fn start_brokers(&mut self, count: i32) {
        for id in 1..=count {
            self.start_broker(id, None);
        }
    }

    pub(crate) fn start_broker(&mut self, id: i32, rack: Option<&str>) -> i64 {
        let incarnation = self.next_offset as u128 + 1000;
        let epoch = self.register(&registration(id, incarnation, rack)).unwrap();
        self.heartbeat(id, epoch);
        epoch
    }

    pub(crate) fn register(&mut self, registration: &BrokerRegistration) -> Result<i64, ApiError> {
        let proposal = self.controller.register_broker(registration, self.next_offset)?;
        Ok(self.commit(proposal))
    }

    /// A heartbeat of a broker that has applied everything and wants to serve.
    pub(crate) fn heartbeat(&mut self, id: i32, epoch: i64) {
        let beat = heartbeat(id, epoch, self.next_offset);
        let proposal = self.controller.broker_heartbeat(&beat).unwrap();
        self.commit(proposal);
    }

    pub(crate) fn fence(&mut self, id: i32) {
        let proposal = self.controller.fence_broker(id).unwrap();
        self.commit(proposal);
    }

    pub(crate) fn commit<A>(&mut self, proposal: Proposal<A>) -> A {
        let mut replay = self.controller.replay().clone();
        for value in proposal.records {
            replay.apply(self.next_offset, 1, &value).unwrap();
            self.records.push((self.next_offset, value));
            self.next_offset += 1;
        }
        replay.publish();
        self.controller.committed(replay);
        proposal.answer
    }

    pub(crate) fn create(&mut self, topics: Vec<NewTopic>) -> Vec<Result<CreatedTopic, ApiError>> {
        let proposal = self.controller.create_topics(&CreateTopics { topics, validate_only: false });
        self.commit(proposal)
    }

    pub(crate) fn create_one(&mut self, topic: NewTopic) -> Result<CreatedTopic, ApiError> {
        self.create(vec![topic]).remove(0)
    }

    /// Moves leadership as nobody has asked for: what a failure and a recovery leave behind.
    pub(crate) fn set_leader(&mut self, topic: &str, partition_id: i32, leader: i32) {
        let topic_id = self.image().topic(topic).unwrap().id;
        let record = PartitionChangeRecord { partition_id, topic_id, leader, ..Default::default() };
        let records = vec![MetadataRecord::from(record).encode_value(2).unwrap()];
        self.commit(Proposal { records, atomic: true, answer: () });
    }

    pub(crate) fn image(&self) -> &MetadataImage {
        self.controller.image()
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> PartitionImage {
        self.image().partition(topic, partition).unwrap().clone()
    }
}

pub(crate) fn settings(pairs: &[(&str, &str)]) -> ControllerSettings {
    (&BrokerConfig::from_pairs(pairs.iter().copied()).unwrap()).into()
}

pub(crate) fn registration(id: i32, incarnation: u128, rack: Option<&str>) -> BrokerRegistration {
    BrokerRegistration {
        broker_id: id,
        cluster_id: CLUSTER_ID.to_owned(),
        incarnation_id: uuid(incarnation),
        end_points: vec![EndPoint {
            name: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9000 + id as u16,
            security_protocol: 0,
        }],
        features: vec![("metadata.version".to_owned(), FeatureRange { min: 30, max: 30 })],
        rack: rack.map(str::to_owned),
        log_dirs: vec![dir_of(id)],
        previous_broker_epoch: -1,
    }
}

pub(crate) fn heartbeat(id: i32, epoch: i64, offset: i64) -> BrokerHeartbeat {
    BrokerHeartbeat {
        broker_id: id,
        broker_epoch: epoch,
        current_metadata_offset: offset,
        want_fence: false,
        want_shut_down: false,
    }
}

pub(crate) fn uuid(n: u128) -> Uuid {
    Uuid(n.to_be_bytes())
}

pub(crate) fn dir_of(broker: i32) -> Uuid {
    uuid(0xd1 << 64 | broker as u128)
}

pub(crate) fn topic(name: &str) -> NewTopic {
    NewTopic::new(name, -1, -1)
}

pub(crate) fn with_configs(name: &str, configs: &[(&str, &str)]) -> NewTopic {
    let configs = configs.iter().map(|(k, v)| (k.to_string(), Some(v.to_string()))).collect();
    NewTopic { configs, ..topic(name) }
}

pub(crate) fn code<T: std::fmt::Debug>(answer: &Result<T, ApiError>) -> ErrorCode {
    answer.as_ref().expect_err("an error is expected").code
}

// ---- with a log

/// The metadata log of the data directory `data`, as a broker opens it.
pub(crate) fn open_log(storage: &Arc<dyn Storage>) -> Log {
    open_log_with(storage, 1 << 30)
}

pub(crate) fn open_log_with(storage: &Arc<dyn Storage>, segment_bytes: u32) -> Log {
    let identity = Identity {
        node_id: 1,
        cluster_id: Some(CLUSTER_ID.to_owned()),
        new_cluster_id: [1; 16],
        new_directory_id: [2; 16],
    };
    // whoever makes the data directory syncs its name
    storage.create_dir(DATA_DIR).unwrap();
    let _ = storage.sync_dir("");
    let dir = LogDir::open(storage.clone(), DATA_DIR, &identity).unwrap();
    let config = MetadataLog::config(segment_bytes);
    dir.open_log(CLUSTER_METADATA_TOPIC, 0, CLUSTER_METADATA_TOPIC_ID.0, config, NOW_MS, 0).unwrap()
}

pub(crate) fn try_start(storage: &Arc<dyn Storage>) -> Result<LocalController, ControllerError> {
    try_start_on(MetadataLog::new(open_log(storage)))
}

pub(crate) fn try_start_on(log: MetadataLog) -> Result<LocalController, ControllerError> {
    LocalController::start(StartOptions {
        cluster_id: CLUSTER_ID.to_owned(),
        settings: settings(&[]),
        log,
        seed: 1,
        clock: Box::new(|| NOW_MS),
    })
}

pub(crate) fn start(storage: &Arc<dyn Storage>) -> LocalController {
    try_start(storage).unwrap()
}

/// Registers broker 1 and brings it to life; the answer is its epoch.
pub(crate) fn join(controller: &LocalController, incarnation: u128) -> i64 {
    let epoch = controller.register_broker(&registration(1, incarnation, None)).unwrap();
    let answer = controller.broker_heartbeat(&heartbeat(1, epoch, controller.image().offset)).unwrap();
    assert!(!answer.is_fenced);
    epoch
}

pub(crate) fn create(controller: &LocalController, name: &str) -> Result<CreatedTopic, ApiError> {
    controller.create_topics(&CreateTopics { topics: vec![topic(name)], validate_only: false }).remove(0)
}

pub(crate) fn topic_names(image: &MetadataImage) -> Vec<String> {
    image.topics().map(|topic| topic.name.to_string()).collect()
}

/// An image built up by deltas alone, as a replica manager would: topic name and partition to leader epoch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Follower {
    pub(crate) partitions: BTreeMap<(Uuid, i32), PartitionImage>,
    pub(crate) configs: BTreeMap<Uuid, BTreeMap<String, String>>,
    pub(crate) offset: i64,
}

impl Follower {
    pub(crate) fn apply(&mut self, delta: &MetadataDelta) {
        for deletion in &delta.topics_deleted {
            let id = deletion.topic.id;
            self.partitions.retain(|(topic, _), _| *topic != id);
            self.configs.remove(&id);
        }
        for topic in &delta.topics_created {
            for (number, partition) in topic.partitions.iter().enumerate() {
                self.partitions.insert((topic.id, number as i32), partition.clone());
            }
            self.configs.insert(topic.id, topic.configs.clone());
        }
        for change in &delta.partitions_changed {
            let now = change.topic.partition(change.partition).unwrap().clone();
            let before = self.partitions.insert((change.topic.id, change.partition), now);
            assert_eq!(before, change.before, "a change starts from what was there");
        }
        for topic in &delta.configs_changed {
            self.configs.insert(topic.id, topic.configs.clone());
        }
        self.offset = delta.to_offset;
    }

    pub(crate) fn of(image: &MetadataImage) -> Follower {
        let mut follower = Follower::default();
        follower.apply(&MetadataDelta::from_nothing(image));
        follower
    }
}
