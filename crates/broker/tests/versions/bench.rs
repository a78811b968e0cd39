//! A broker with topics and records, and one connection to it, on which all versions of an API are tried one after the other.

use std::sync::Arc;

use rohrpost_broker::Cluster;
use rohrpost_log::MemoryStorage;
use rohrpost_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, MetadataRequest, MetadataRequestTopic,
};
use rohrpost_protocol::{ApiKey, ErrorCode, Uuid};
use rohrpost_record::{BatchBuilder, Codec, HEADER_LEN, Header, Stamp, stamp};

use crate::common::*;
use crate::topics::{new_topic, topic_config};

/// A topic id that nobody has.
pub(crate) const UNKNOWN_ID: Uuid = Uuid([9; 16]);
/// A setting of a topic: key and value.
type Setting = (&'static str, &'static str);
/// Topics of the bench. `t` has three partitions, the others one; `stamped` has the broker's times, `keyed` is compacted.
pub(crate) const TOPICS: [(&str, i32, Option<Setting>); 4] = [
    ("t", 3, None),
    ("stamped", 1, Some(("message.timestamp.type", "LogAppendTime"))),
    ("keyed", 1, Some(("cleanup.policy", "compact"))),
    ("__consumer_offsets", 1, None),
];
/// Records in each partition of `t`: two batches of three.
pub(crate) const RECORDS: i64 = 6;
pub(crate) const SECOND_BATCH_MS: i64 = NOW + 10;

/// A broker, one connection to it, and what is known of it.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    /// The leader epoch of `t`.
    pub(crate) epoch: i32,
    /// The broker's id.
    pub(crate) node_id: i32,
}

impl Bench {
    /// A broker in memory, leader epoch 0.
    pub(crate) fn fresh() -> Bench {
        let cluster = Cluster::builder().config("auto.create.topics.enable", "false").start().unwrap();
        let mut bench = Bench::on(cluster);
        bench.create_topics();
        for batch in [NOW, SECOND_BATCH_MS] {
            bench.fill(batch);
        }
        bench.learn();
        bench
    }

    /// A broker that was restarted between the two batches, so that its partitions have an older epoch; and one with a data
    /// directory, so that requests take the way over a handler thread.
    pub(crate) fn restarted(storage: &MemoryStorage) -> Bench {
        let start = || {
            let builder = Cluster::builder().config("auto.create.topics.enable", "false");
            builder.data_dir("/data").storage(Arc::new(storage.clone())).start().unwrap()
        };
        let mut bench = Bench::on(start());
        bench.create_topics();
        bench.fill(NOW);
        let Bench { cluster, client, .. } = bench;
        drop(client);
        cluster.stop().unwrap();
        let mut bench = Bench::on(start());
        bench.fill(SECOND_BATCH_MS);
        bench.learn();
        assert!(bench.epoch > 0, "a restart begins a leader epoch");
        bench
    }

    pub(crate) fn on(cluster: Cluster) -> Bench {
        let client = Client::of(&cluster);
        Bench { cluster, client, epoch: -1, node_id: -1 }
    }

    fn create_topics(&mut self) {
        for (name, partitions, config) in TOPICS {
            let mut topic = new_topic(name, partitions, 1);
            topic.configs = config.iter().map(|(key, value)| topic_config(key, Some(value))).collect();
            let response =
                self.client.call(&CreateTopicsRequest { topics: vec![topic], ..Default::default() }, 7);
            assert_eq!(response.topics[0].error_code, ErrorCode::NONE, "{name}");
        }
    }

    /// One rich batch into each partition of `t` and `stamped`.
    fn fill(&mut self, timestamp: i64) {
        let batch = rich(timestamp, Stamp::NONE);
        for (topic, partition) in [("t", 0), ("t", 1), ("t", 2), ("stamped", 0)] {
            assert_eq!(self.client.produce(topic, partition, Some(&batch)).error, ErrorCode::NONE);
        }
    }

    fn learn(&mut self) {
        let topics = Some(vec![MetadataRequestTopic { name: Some("t"), ..Default::default() }]);
        let response = self.client.call(&MetadataRequest { topics, ..Default::default() }, 12);
        let partition = &response.topics[0].partitions[0];
        (self.epoch, self.node_id) = (partition.leader_epoch, partition.leader_id);
    }

    /// What the broker says that it serves.
    pub(crate) fn advertised(&mut self) -> Vec<(ApiKey, i16, i16)> {
        let response = self.client.call(&ApiVersionsRequest::default(), 0);
        let apis = response.api_keys.iter();
        apis.map(|api| (ApiKey::from_i16(api.api_key).unwrap(), api.min_version, api.max_version)).collect()
    }

    pub(crate) fn id(&mut self, topic: &str) -> Uuid {
        if topic == "nowhere" { UNKNOWN_ID } else { self.client.topic_id(topic) }
    }

    pub(crate) fn end(&self, topic: &str, partition: i32) -> i64 {
        self.cluster.log(topic, partition).end_offset()
    }
}

/// Says which version it was, if a test fails in it.
pub(crate) struct During(pub(crate) String);

impl Drop for During {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was {}", self.0);
        }
    }
}

/// Runs the check in each advertised version, against both kinds of broker, on one connection each.
pub(crate) fn in_every_version(api: ApiKey, check: impl Fn(&mut Bench, i16)) {
    let storage = MemoryStorage::new();
    for mut bench in [Bench::fresh(), Bench::restarted(&storage)] {
        let (_, min, max) = *bench.advertised().iter().find(|(key, ..)| *key == api).unwrap();
        // Produce 0 to 2 are listed for old librdkafka and close the connection (G5)
        let min = if api == ApiKey::Produce { 3 } else { min };
        for version in min..=max {
            let _during = During(format!("{} {version}, leader epoch {}", api.name(), bench.epoch));
            check(&mut bench, version);
            // the connection goes on
            assert!(!bench.advertised().is_empty());
        }
    }
}

/// Three records with keys and headers, a millisecond apart.
pub(crate) fn rich(timestamp: i64, by: Stamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let mut bytes = vec![0; HEADER_LEN + 300];
    let mut at = HEADER_LEN;
    for n in 0..3 {
        let (key, value) = (format!("key {n}"), format!("value {n}"));
        let headers = [Header { key: b"trace", value: Some(b"1") }, Header { key: b"empty", value: None }];
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        at += builder.append(&mut bytes[at..], timestamp + n, key, value, &headers);
    }
    bytes.truncate(at);
    builder.write_header(bytes.first_chunk_mut().unwrap(), Codec::None, at - HEADER_LEN, false);
    stamp(&mut bytes, [], by);
    bytes
}
