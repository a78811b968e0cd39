//! The configuration: tables against the reference, parsing, what is refused and how.

use std::collections::BTreeMap;

use rohrpost_protocol::ErrorCode;

use super::value::Kind;
use super::*;
use crate::controller::ConfigSource;

/// The rows of the reference's table: columns by name.
fn reference() -> Vec<BTreeMap<String, String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/broker-configs.tsv");
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t'));
    let header: Vec<&str> = lines.next().unwrap().collect();
    let row = |cells: std::str::Split<'_, char>| {
        header.iter().zip(cells).map(|(name, cell)| ((*name).to_owned(), cell.to_owned())).collect()
    };
    lines.map(row).collect()
}

/// The kind that a row of the reference describes.
fn check_kind(row: &BTreeMap<String, String>, kind: Kind) {
    let (key, range) = (&row["key"], row["range"].trim_matches(['[', ']']).to_owned());
    match (row["type"].as_str(), kind) {
        ("int" | "long", Kind::Number { min, max }) => {
            let widest =
                if row["type"] == "int" { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
            let parts: Vec<&str> = range.split(',').collect();
            let bound = |index: usize, default: i64| match parts.get(index) {
                Some(&("..." | "-")) | None => default,
                Some(number) => number.parse().unwrap(),
            };
            let expected = (bound(0, widest.0), bound(parts.len().max(2) - 1, widest.1));
            assert_eq!((min, max), expected, "{key}: {range}");
        }
        ("int", Kind::GzipLevel) => assert!(key.contains("gzip")),
        ("boolean", Kind::Boolean) | ("string" | "list", Kind::Text) => {}
        ("double", Kind::Ratio) => assert_eq!(range, "0,...,1"),
        ("string", Kind::OneOf(words)) | ("list", Kind::ListOf(words)) => {
            assert_eq!(range.split(", ").collect::<Vec<_>>(), words, "{key}");
        }
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn broker_keys_are_those_of_the_reference() {
    let rows = reference();
    let rows: Vec<_> = rows.iter().filter(|r| r["scope"] == "broker" && r["stage"] == "S1").collect();
    assert_eq!(rows.len(), keys::KEYS.len());
    for row in rows {
        let key = keys::find(&row["key"]).unwrap_or_else(|| panic!("{} is missing", row["key"]));
        check_kind(row, key.kind);
    }
}

#[test]
fn topic_keys_defaults_and_synonyms_are_those_of_the_reference() {
    let rows: Vec<_> = reference().into_iter().filter(|row| row["scope"] == "topic").collect();
    topic::for_each_key(|name, kind, default, served, synonyms| {
        let row =
            rows.iter().find(|row| row["key"] == name).unwrap_or_else(|| panic!("{name} is none of Kafka's"));
        check_kind(row, kind);
        let written = default.unwrap_or("null");
        assert_eq!(row["default"].trim_matches(['[', ']']), written, "{name}");
        assert_eq!(row["stage"] == "S1", served, "{name}");
        let expected = if synonyms.is_empty() { "-".to_owned() } else { synonyms.join(", ") };
        assert_eq!(row["synonym"], expected, "{name}");
    });
    assert_eq!(rows.len(), topic::key_count());
}

#[test]
fn defaults_are_kafkas() {
    let config = BrokerConfig::default();
    let by_key: BTreeMap<String, String> = reference()
        .into_iter()
        .filter(|row| row["scope"] == "broker")
        .map(|row| (row["key"].clone(), row["default"].clone()))
        .collect();
    let expect = |key: &str, value: String| assert_eq!(by_key[key], value, "{key}");
    expect("num.network.threads", config.num_network_threads.to_string());
    expect("num.io.threads", config.num_io_threads.to_string());
    expect("queued.max.requests", config.queued_max_requests.to_string());
    assert_eq!(config.queued_max_request_bytes, None);
    expect("socket.send.buffer.bytes", config.socket_send_buffer_bytes.unwrap().to_string());
    expect("socket.receive.buffer.bytes", config.socket_receive_buffer_bytes.unwrap().to_string());
    expect("socket.request.max.bytes", config.socket_request_max_bytes.to_string());
    expect("socket.listen.backlog.size", config.socket_listen_backlog_size.to_string());
    expect("connections.max.idle.ms", config.connections_max_idle_ms.unwrap().to_string());
    expect("max.connections", config.max_connections.to_string());
    expect("max.connections.per.ip", config.max_connections_per_ip.to_string());
    expect("num.partitions", config.num_partitions.to_string());
    expect("default.replication.factor", config.default_replication_factor.to_string());
    expect("auto.create.topics.enable", config.auto_create_topics_enable.to_string());
    expect("delete.topic.enable", config.delete_topic_enable.to_string());
    expect("fetch.max.bytes", config.fetch_max_bytes.to_string());
    expect("producer.id.expiration.ms", config.producer_id_expiration_ms.to_string());
    expect(
        "producer.id.expiration.check.interval.ms",
        config.producer_id_expiration_check_interval_ms.to_string(),
    );
    expect("num.recovery.threads.per.data.dir", config.num_recovery_threads_per_data_dir.to_string());
    expect("log.initial.task.delay.ms", config.log_initial_task_delay_ms.to_string());
    expect("log.retention.check.interval.ms", config.log_retention_check_interval_ms.to_string());
    expect("log.flush.scheduler.interval.ms", config.log_flush_scheduler_interval_ms.to_string());
    let checkpoint = config.log_flush_offset_checkpoint_interval_ms;
    expect("log.flush.offset.checkpoint.interval.ms", checkpoint.to_string());
    let starts = config.log_flush_start_offset_checkpoint_interval_ms;
    expect("log.flush.start.offset.checkpoint.interval.ms", starts.to_string());
    let watermarks = config.replica_high_watermark_checkpoint_interval_ms;
    expect("replica.high.watermark.checkpoint.interval.ms", watermarks.to_string());
    expect("metadata.log.segment.bytes", config.metadata_log_segment_bytes.to_string());
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://:9092");
    assert!(config.is_in_memory() && config.ignored.is_empty());
}

#[test]
fn every_wrong_value_is_named_with_key_value_and_what_is_allowed() {
    let error = BrokerConfig::from_pairs([
        ("num.io.threads", "many"),
        ("log.segment.bytes", "1000"),
        ("compression.type", "rar"),
        ("listeners", "PLAINTEXT:9092"),
        ("num.partitions", "3"),
    ])
    .unwrap_err();
    let text = error.to_string();
    for expected in [
        "num.io.threads=many: must be a whole number of 32 bits, at least 1",
        "log.segment.bytes=1000: must be a whole number of 32 bits, at least 1048576",
        "compression.type=rar: must be one of uncompressed, zstd, lz4, snappy, gzip, producer",
        "listeners=PLAINTEXT:9092: \"PLAINTEXT:9092\" is not of the form NAME://host:port",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!text.contains("num.partitions"), "{text}");
}

#[test]
fn what_would_protect_the_broker_is_refused_and_not_ignored() {
    for (key, value) in [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("ssl.client.auth", "required"),
        ("listeners", "SASL_SSL://:9093"),
        ("security.inter.broker.protocol", "SSL"),
    ] {
        let error = BrokerConfig::from_pairs([(key, value)]).unwrap_err();
        assert_eq!(error.problems[0].key, key, "{error}");
    }
}

#[test]
fn unknown_and_unused_keys_are_listed_with_the_reason() {
    // E12
    let config = BrokerConfig::from_pairs([
        ("my.plugin.setting", "1"),
        ("auto.leader.rebalance.enable", "true"),
        ("log.retention.hours", "1"),
        ("node.id", "4"),
    ])
    .unwrap();
    let ignored: Vec<(&str, &str)> = config.ignored.iter().map(|i| (i.key.as_str(), i.reason)).collect();
    let expected = [
        ("auto.leader.rebalance.enable", "is a key of Kafka's that this version does not use yet"),
        ("my.plugin.setting", "is not a key that this version knows"),
    ];
    assert_eq!(ignored, expected);
}

#[test]
fn kafkas_own_single_node_file_is_read() {
    let text = "\
process.roles=broker,controller
node.id=3
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://broker.example:9092,CONTROLLER://broker.example:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL
log.dirs=/var/lib/kafka
num.partitions=6
log.retention.hours=168
";
    let config = BrokerConfig::from_properties(text).unwrap();
    assert_eq!((config.node_id, config.num_partitions), (3, 6));
    assert_eq!(config.listeners.iter().map(ToString::to_string).collect::<Vec<_>>(), ["PLAINTEXT://:9092"]);
    let advertised: Vec<String> = config.advertised_listeners.iter().map(ToString::to_string).collect();
    assert_eq!(advertised, ["PLAINTEXT://broker.example:9092"]);
    assert_eq!(config.log_dirs, [PathBuf::from("/var/lib/kafka")]);
    assert!(BrokerConfig::from_properties("x=1\ny=\\u12").unwrap_err().to_string().starts_with("line 2"));
}

#[test]
fn listeners_take_names_ports_and_ipv6() {
    let pairs = [
        ("listeners", "IN://[::1]:0,OUT://0.0.0.0:9094"),
        ("listener.security.protocol.map", "IN:PLAINTEXT,OUT:PLAINTEXT"),
    ];
    let config = BrokerConfig::from_pairs(pairs).unwrap();
    assert_eq!(config.listeners[0], Listener { name: "IN".into(), host: "::1".into(), port: 0 });
    assert_eq!(config.listeners[0].to_string(), "IN://[::1]:0");
    for (key, bad) in [
        ("listeners", "OUT://:1"),
        ("listeners", "PLAINTEXT://:1,PLAINTEXT://:2"),
        ("listeners", "PLAINTEXT://:70000"),
        ("advertised.listeners", "OTHER://h:1"),
        ("advertised.listeners", "PLAINTEXT://0.0.0.0:1"),
        ("log.dirs", "/a,/b"),
        ("default.replication.factor", "0"),
    ] {
        let error = BrokerConfig::from_pairs([(key, bad)]).unwrap_err();
        assert_eq!(error.problems[0].key, key, "{error}");
    }
}

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_topic_setting_wins_over_the_brokers_key_and_that_over_the_default() {
    // M9
    let pairs =
        [("log.retention.hours", "2"), ("log.retention.minutes", "5"), ("log.flush.interval.messages", "7")];
    let defaults = BrokerConfig::from_pairs(pairs).unwrap().topic_defaults;
    let own = configs(&[("flush.messages", "1")]);
    let get = |key: &str| {
        let entry = defaults.get(&own, key).unwrap();
        (entry.value.unwrap(), entry.source)
    };
    assert_eq!(get("flush.messages"), ("1".to_owned(), ConfigSource::Topic));
    assert_eq!(
        get("retention.ms"),
        ("300000".to_owned(), ConfigSource::StaticBroker),
        "minutes come before hours"
    );
    assert_eq!(get("segment.bytes"), ("1073741824".to_owned(), ConfigSource::Default));
    let log = defaults.log_config(&own).unwrap();
    assert_eq!((log.flush_messages, log.retention_ms, log.segment_bytes), (1, 300_000, 1 << 30));
    assert_eq!(defaults.log_config(&BTreeMap::new()).unwrap().flush_messages, 7);
}

#[test]
fn any_negative_retention_of_the_broker_means_none() {
    let defaults = BrokerConfig::from_pairs([("log.retention.hours", "-5")]).unwrap().topic_defaults;
    assert_eq!(defaults.log_config(&BTreeMap::new()).unwrap().retention_ms, -1);
}

#[test]
fn wrong_topic_settings_are_refused_with_key_value_and_what_is_allowed() {
    // M2
    let defaults = TopicDefaults::default();
    for (key, value, expected) in [
        ("no.such.key", "1", "Unknown topic config name: no.such.key"),
        ("segment.bytes", "5", "a whole number of 32 bits, at least 1048576"),
        ("cleanup.policy", "shred", "a list of compact, delete"),
        ("compression.gzip.level", "0", "1 to 9, or -1"),
        ("message.timestamp.type", "Now", "one of CreateTime, LogAppendTime"),
        ("preallocate", "maybe", "true or false"),
    ] {
        let error = defaults.validate(&configs(&[(key, value)])).unwrap_err();
        assert_eq!(error.code, ErrorCode::INVALID_CONFIG);
        assert!(error.message.contains(expected) && error.message.contains(key), "{error}");
    }
    let long = "delete,".repeat(1000);
    assert_eq!(
        defaults.validate(&configs(&[("cleanup.policy", &long)])).unwrap_err().code,
        ErrorCode::INVALID_CONFIG
    );
    let good = [("cleanup.policy", "compact,delete"), ("retention.ms", "-1"), ("min.insync.replicas", "2")];
    defaults.validate(&configs(&good)).unwrap();
}

#[test]
fn what_is_not_implemented_is_refused_unless_it_asks_for_nothing() {
    // E12
    let defaults = TopicDefaults::default();
    for (key, default, other) in [
        ("remote.storage.enable", "false", "true"),
        ("min.compaction.lag.ms", "0", "1"),
        ("delete.retention.ms", "86400000", "1000"),
    ] {
        defaults.validate(&configs(&[(key, default)])).unwrap();
        let error = defaults.validate(&configs(&[(key, other)])).unwrap_err();
        assert!(error.message.contains("does not implement"), "{error}");
    }
}

#[test]
fn min_insync_replicas_never_exceeds_the_number_of_replicas() {
    let defaults = BrokerConfig::from_pairs([("min.insync.replicas", "2")]).unwrap().topic_defaults;
    assert_eq!(defaults.min_insync_replicas(&BTreeMap::new(), 1), 1);
    assert_eq!(defaults.min_insync_replicas(&BTreeMap::new(), 3), 2);
    assert_eq!(defaults.min_insync_replicas(&configs(&[("min.insync.replicas", "3")]), 3), 3);
}
