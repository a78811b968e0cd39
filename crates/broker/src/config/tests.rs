//! The configuration: tables against the reference, parsing, what is refused and how.

use std::collections::BTreeMap;

use rohrpost_protocol::ErrorCode;

use super::keys::Effect;
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
    let (key, range) = (&row["key"], row["range"].trim_start_matches("(case insensitive) "));
    let range = range.trim_matches(['[', ']']);
    match (row["type"].as_str(), kind) {
        (number @ ("short" | "int" | "long"), Kind::Number { min, max }) => {
            let widest = match number {
                "short" => (i16::MIN.into(), i16::MAX.into()),
                "int" => (i32::MIN.into(), i32::MAX.into()),
                _ => (i64::MIN, i64::MAX),
            };
            let parts: Vec<&str> = range.split(',').collect();
            let bound = |index: usize, default: i64| match parts.get(index) {
                Some(&("..." | "-")) | None => default,
                Some(number) => number.parse().unwrap(),
            };
            let expected = (bound(0, widest.0), bound(parts.len().max(2) - 1, widest.1));
            assert_eq!((min, max), expected, "{key}: {range}");
        }
        ("int", Kind::GzipLevel) => assert!(key.contains("gzip")),
        ("boolean", Kind::Boolean) | ("string" | "list" | "password" | "class", Kind::Text) => {}
        ("double", Kind::Decimal) => assert_eq!(range, "-"),
        ("double", Kind::Ratio) => assert_eq!(range, "0,...,1"),
        ("string", Kind::OneOf(words) | Kind::OneOfAnyCase(words)) | ("list", Kind::ListOf(words)) => {
            assert_eq!(range.split(", ").collect::<Vec<_>>(), words, "{key}");
        }
        other => panic!("{key}: {other:?}"),
    }
}

/// The reference's broker keys.
fn broker_rows() -> Vec<BTreeMap<String, String>> {
    reference().into_iter().filter(|row| row["scope"] == "broker").collect()
}

#[test]
fn broker_keys_are_those_of_the_reference() {
    let rows = broker_rows();
    assert_eq!(rows.len(), keys::KEYS.len());
    for row in rows {
        let key = keys::find(&row["key"]).unwrap_or_else(|| panic!("{} is missing", row["key"]));
        check_kind(&row, key.kind);
        assert_eq!(key.effect == Effect::Topics || key.name == "log.flush.scheduler.interval.ms", {
            topic::is_synonym(key.name) && !matches!(key.effect, Effect::Ignored(_))
        });
        assert!(keys::reason_of_other(key.name).is_none(), "{} is in two tables", key.name);
    }
}

/// Values that the key takes, the first of them other than its default.
fn other_values(key: &keys::Key, default: &str) -> Vec<String> {
    let special: &[&str] = match key.name {
        "listeners" => &["PLAINTEXT://127.0.0.1:1234"],
        "advertised.listeners" => &["PLAINTEXT://example.org:1"],
        "max.connections.per.ip.overrides" => &["localhost:5"],
        "controller.quorum.voters" => &["1@localhost:9093"],
        _ => &[],
    };
    if !special.is_empty() {
        return special.iter().map(|value| (*value).to_owned()).collect();
    }
    let candidates: Vec<String> = match key.kind {
        Kind::Number { min, max } => [min.max(3), min + 1, max - 1].map(|n| n.to_string()).into(),
        Kind::GzipLevel => vec!["3".to_owned()],
        Kind::Ratio | Kind::Decimal => vec!["0.25".to_owned()],
        Kind::Boolean => vec!["true".to_owned(), "false".to_owned()],
        Kind::Text => vec!["/some/text".to_owned()],
        Kind::OneOf(words) | Kind::OneOfAnyCase(words) | Kind::ListOf(words) => {
            words.iter().map(|word| (*word).to_owned()).collect()
        }
    };
    candidates.into_iter().filter(|value| value != default).collect()
}

#[test]
fn no_key_of_kafkas_is_dropped_in_silence() {
    // E12: every key of the reference changes the configuration, or is refused, or is listed with the reason
    let plain = BrokerConfig::default();
    for (key, row) in keys::KEYS.iter().zip(broker_rows()) {
        assert_eq!(key.name, row["key"], "the order of the reference");
        let value = &other_values(key, &row["default"])[0];
        match (BrokerConfig::from_pairs([(key.name, value)]), key.effect) {
            (Ok(config), Effect::Ignored(reason)) => {
                let [ignored] = &config.ignored[..] else { panic!("{}: {:?}", key.name, config.ignored) };
                assert_eq!(ignored.to_string(), format!("{} is ignored: {reason}", key.name));
                let same = BrokerConfig { ignored: Vec::new(), given: BTreeMap::new(), ..config };
                assert_eq!(same, plain, "{} has an effect", key.name);
            }
            (Ok(config), _) => {
                assert!(config.ignored.is_empty(), "{}: {:?}", key.name, config.ignored);
                let same = BrokerConfig { given: BTreeMap::new(), ..config } == plain;
                // these name what is so in any case, or only say how other keys are to be read
                let may_be_same = [
                    "process.roles",
                    "listener.security.protocol.map",
                    "security.inter.broker.protocol",
                    "controller.listener.names",
                ];
                assert!(!same || may_be_same.contains(&key.name), "{} has no effect", key.name);
            }
            (Err(error), effect) => {
                assert_eq!(effect, Effect::Honoured, "{error}");
                assert_eq!(error.problems[0].key, key.name, "{error}");
            }
        }
    }
}

#[test]
fn a_wrong_value_of_any_key_is_told_with_file_line_key_value_and_range() {
    for key in keys::KEYS {
        if matches!(key.kind, Kind::Text) {
            continue;
        }
        let text = format!("# first\n\n{} = no, really\n", key.name);
        let settings = Setting::parse(&text, "server.properties").unwrap();
        let error = BrokerConfig::from_settings(settings).unwrap_err();
        let expected = format!("server.properties:3: {}=no, really: must be {}", key.name, key.kind);
        assert_eq!(error.to_string(), expected);
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
    expect("max.connection.creation.rate", config.max_connection_creation_rate.to_string());
    let slots = config.max_incremental_fetch_session_cache_slots;
    expect("max.incremental.fetch.session.cache.slots", slots.to_string());
    expect("max.request.partition.size.limit", config.max_request_partition_size_limit.to_string());
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
    expect("background.threads", config.background_threads.to_string());
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
    let between = config.metadata_log_max_record_bytes_between_snapshots;
    expect("metadata.log.max.record.bytes.between.snapshots", between.to_string());
    let interval = config.metadata_log_max_snapshot_interval_ms;
    expect("metadata.log.max.snapshot.interval.ms", interval.to_string());
    expect("metadata.max.retention.bytes", config.metadata_max_retention_bytes.to_string());
    expect("metadata.max.retention.ms", config.metadata_max_retention_ms.to_string());
    expect("max.request.partition.size.limit", config.max_request_partition_size_limit.to_string());
    let slots = config.max_incremental_fetch_session_cache_slots;
    expect("max.incremental.fetch.session.cache.slots", slots.to_string());
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

/// Settings of a text that stands for a file.
fn read(text: &str) -> Result<BrokerConfig, ConfigError> {
    BrokerConfig::from_settings(Setting::parse(text, "server.properties")?)
}

#[test]
fn what_would_protect_the_broker_is_refused_and_not_ignored() {
    for (key, value) in [
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("ssl.client.auth", "required"),
        ("listeners", "SASL_SSL://:9093"),
        ("security.inter.broker.protocol", "SSL"),
        ("create.topic.policy.class.name", "org.example.Policy"),
        ("alter.config.policy.class.name", "org.example.Policy"),
        ("config.providers", "file"),
        ("remote.log.storage.system.enable", "true"),
    ] {
        let error = BrokerConfig::from_pairs([(key, value)]).unwrap_err();
        assert_eq!(error.problems[0].key, key, "{error}");
    }
    let mapped = "# x\nlisteners=OUT://:9092\nlistener.security.protocol.map=OUT:SASL_SSL\n";
    let error = read(mapped).unwrap_err().to_string();
    assert!(
        error.starts_with("server.properties:2: listeners=OUT://:9092: OUT://:9092 asks for SASL_SSL"),
        "{error}"
    );
}

#[test]
fn a_broker_that_was_meant_to_be_one_of_several_does_not_start_alone() {
    for (key, value) in [
        ("process.roles", "broker"),
        ("process.roles", "controller"),
        ("controller.quorum.voters", "1@a:9093,2@b:9093"),
        ("controller.quorum.voters", "2@b:9093"),
        ("controller.quorum.bootstrap.servers", "a:9093,b:9093"),
    ] {
        let error = BrokerConfig::from_pairs([(key, value)]).unwrap_err();
        assert_eq!(error.problems[0].key, key, "{error}");
    }
    let alone =
        [("node.id", "7"), ("process.roles", "controller, broker"), ("controller.quorum.voters", "7@a:9093")];
    BrokerConfig::from_pairs(alone).unwrap();
    assert_eq!(BrokerConfig::from_pairs([("broker.id", "5")]).unwrap().node_id, 5);
    BrokerConfig::from_pairs([("broker.id", "5"), ("node.id", "6")]).unwrap_err();
}

#[test]
fn unknown_and_unused_keys_are_listed_with_the_reason() {
    // E12
    let config = read(
        "auto.leader.rebalance.enable=true\nlisteners=PLAINTEXT://:9092,CONTROLLER://:9093\nlog.retension.hours=1\n\
         log.retention.hours=1\nmy.plugin.setting=1\nnode.id=4\ncontroller.listener.names=CONTROLLER\n\
         remote.log.reader.threads=2\nlistener.name.plaintext.ssl.keystore.location=/k\nlistener.name.x.max.connections=3\n",
    )
    .unwrap();
    let lines: Vec<String> = config.ignored.iter().map(ToString::to_string).collect();
    let expected = [
        "server.properties:1: auto.leader.rebalance.enable is ignored: this is the only broker; nothing is copied from others and \
         no leader moves",
        "server.properties:2: listeners names CONTROLLER://:9093, which is not opened: the controller is in this process",
        "server.properties:3: log.retension.hours is ignored: Kafka has no such key; did you mean log.retention.hours?",
        "server.properties:5: my.plugin.setting is ignored: Kafka has no such key",
        "server.properties:8: remote.log.reader.threads is ignored: tiered storage is not implemented",
        "server.properties:9: listener.name.plaintext.ssl.keystore.location is ignored: every listener is PLAINTEXT; nobody logs \
         in, nothing is encrypted, everyone may do everything",
        "server.properties:10: listener.name.x.max.connections is ignored: no listener has the name \"x\"",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_each_with_its_place() {
    let text = "num.io.threads=many\nlog.dirs=/a,/b,/a\n\nlisteners=PLAINTEXT:9092\nauthorizer.class.name=x.Y\nnum.partitions=0";
    let error = read(text).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "5 mistakes");
    for expected in [
        "  server.properties:1: num.io.threads=many: must be a whole number of 32 bits, at least 1",
        "  server.properties:2: log.dirs=/a,/b,/a: names a directory twice",
        "  server.properties:4: listeners=PLAINTEXT:9092: \"PLAINTEXT:9092\" is not of the form NAME://host:port",
        "  server.properties:5: authorizer.class.name=x.Y: is not implemented",
        "  server.properties:6: num.partitions=0: must be a whole number of 32 bits, at least 1",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "{expected} in {error}");
    }
    // lines that are none are told before anything else can be said
    let error = read("a=1\nx=\\u12\nnum.io.threads=0\ny=\\uzzzz").unwrap_err().to_string();
    assert!(error.contains("server.properties:2: ") && error.contains("server.properties:4: "), "{error}");
}

#[test]
fn a_later_setting_wins_and_is_the_one_that_is_blamed() {
    let mut settings = Setting::parse("num.partitions=0\nnum.partitions=3\n", "f").unwrap();
    assert_eq!(BrokerConfig::from_settings(settings.clone()).unwrap().num_partitions, 3);
    settings.push(Setting::new("num.partitions", "x", Origin::Flag("-X")));
    let error = BrokerConfig::from_settings(settings).unwrap_err().to_string();
    assert_eq!(error, "-X: num.partitions=x: must be a whole number of 32 bits, at least 1");
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
fn limits_of_connections_are_read() {
    let config = read(
        "listeners=IN://:1,OUT://:2\nlistener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT\n\
         inter.broker.listener.name=IN\nmax.connections.per.ip.overrides=localhost:7, ::1:2,10.0.0.1:0\n\
         listener.name.out.max.connections=9\nlistener.name.out.max.connection.creation.rate=4\n\
         queued.max.request.bytes=0\nmax.connection.creation.rate=11",
    )
    .unwrap();
    assert_eq!(config.ignored, []);
    assert_eq!(config.inter_broker_listener.as_deref(), Some("IN"));
    let overrides: Vec<(&str, usize)> =
        config.max_connections_per_ip_overrides.iter().map(|(host, n)| (host.as_str(), *n)).collect();
    assert_eq!(overrides, [("localhost", 7), ("::1", 2), ("10.0.0.1", 0)]);
    let out = ListenerLimits { max_connections: Some(9), max_connection_creation_rate: Some(4) };
    assert_eq!(config.listener_limits, BTreeMap::from([("OUT".to_owned(), out)]));
    assert_eq!((config.queued_max_request_bytes, config.max_connection_creation_rate), (None, 11));
    for (key, bad) in [
        ("max.connections.per.ip.overrides", "localhost"),
        ("max.connections.per.ip.overrides", "localhost:-1"),
        ("listener.name.plaintext.max.connections", "few"),
        ("inter.broker.listener.name", "OTHER"),
        ("queued.max.request.bytes", "1000"),
    ] {
        let error = BrokerConfig::from_pairs([(key, bad)]).unwrap_err();
        assert_eq!(error.problems[0].key, key, "{error}");
    }
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
        ("listeners", "PLAINTEXT://:1,SSL://:2"),
        ("listeners", "PLAINTEXT://:70000"),
        ("advertised.listeners", "OTHER://h:1"),
        ("advertised.listeners", "PLAINTEXT://0.0.0.0:1"),
        ("log.dirs", "/a,/b,/a"),
        ("metadata.log.dir", "/c"),
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

#[test]
fn what_tools_are_told_of_keys_is_what_the_reference_says() {
    // M9
    let words = |kind: meaning::ValueType| format!("{kind:?}").to_lowercase();
    for row in reference() {
        let found = match row["scope"].as_str() {
            "topic" => meaning::of_topic_key(&row["key"]),
            _ if row["stage"] == "S1" => meaning::of_broker_key(&row["key"]),
            _ => continue,
        };
        let key = found.unwrap_or_else(|| panic!("{} is missing", row["key"]));
        assert_eq!(words(key.value_type), row["type"], "{}", key.name);
        let default = match row["default"].as_str() {
            "null" | "<required>" => None,
            "\"\"" => Some(""),
            text => Some(text.trim_matches(['[', ']'])),
        };
        assert_eq!(key.default, default, "{}", key.name);
        let update = format!("{:?}", key.update).to_lowercase();
        assert_eq!(update.replace("restart", "ro"), row["update"], "{}", key.name);
        assert!(!key.text.is_empty());
    }
    // E12: who reads of compaction learns that there is none yet
    assert!(meaning::of_topic_key("cleanup.policy").unwrap().text.contains("nothing is compacted yet"));
}

#[test]
fn what_may_change_while_the_broker_runs_is_what_it_honours_then() {
    // M10, E12
    for (name, dynamic) in [
        ("log.retention.ms", true),
        ("message.max.bytes", true),
        ("compression.type", true),
        ("unclean.leader.election.enable", true),
        ("producer.id.expiration.ms", true),
        // Kafka changes these while it runs, this broker does not
        ("num.io.threads", false),
        ("max.connections", false),
        ("listeners", false),
        // nor does Kafka these
        ("log.retention.hours", false),
        ("node.id", false),
        ("no.such.key", false),
    ] {
        assert_eq!(describe::is_dynamic(name), dynamic, "{name}");
    }
}

#[test]
fn the_manual_names_every_key_that_the_server_acts_on() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/broker-configuration.md");
    let manual = std::fs::read_to_string(path).unwrap();
    for key in keys::KEYS.iter().filter(|key| key.effect == Effect::Honoured) {
        assert!(
            manual.contains(&format!("`{}`", key.name)),
            "{} is not in docs/broker-configuration.md",
            key.name
        );
    }
}
