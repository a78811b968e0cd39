//! Configuration, as a user meets it.

use rohrpost_record::Codec;

use super::*;
use crate::config::{ProducerBuilder, TopicConfig};

/// The outcome of a configuration of pairs with a usable server: errors as text.
fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
    warned(pairs).0
}

/// The same, and the warnings.
fn warned(pairs: &[(&str, &str)]) -> (Result<Config, String>, Vec<String>) {
    let mut all = vec![("bootstrap.servers", "localhost:9092")];
    all.extend_from_slice(pairs);
    let builder = ProducerBuilder::from_pairs(all);
    let (result, warnings) = resolve(&builder.settings);
    (result.map_err(|e| e.to_string()), warnings)
}

fn refused(pairs: &[(&str, &str)]) -> String {
    with(pairs).expect_err("this configuration should be refused")
}

#[test]
fn defaults_are_those_of_kafka_4() {
    let config = with(&[]).unwrap();
    assert_eq!(config.acks, Acks::All);
    assert!(config.enable_idempotence);
    assert_eq!((config.linger_ms, config.batch_size, config.buffer_memory), (5, 16_384, 33_554_432));
    assert_eq!((config.delivery_timeout_ms, config.request_timeout_ms), (120_000, 30_000));
    assert_eq!((config.retries, config.max_in_flight), (2_147_483_647, 5));
    assert_eq!((config.max_block_ms, config.max_request_size), (60_000, 1_048_576));
    assert_eq!((config.retry_backoff_ms, config.retry_backoff_max_ms), (100, 1000));
    assert_eq!((config.reconnect_backoff_ms, config.reconnect_backoff_max_ms), (50, 1000));
    assert_eq!(config.connections_max_idle_ms, Some(540_000));
    assert_eq!((config.send_buffer_bytes, config.receive_buffer_bytes), (131_072, 32_768));
    assert!(config.metadata_rebootstrap && config.allow_auto_create_topics);
}

#[test]
fn a_wait_without_limit_can_be_said_as_the_longest_duration() {
    let builder = ProducerBuilder::new("localhost:9092").max_block(std::time::Duration::MAX);
    assert_eq!(builder.check().unwrap().max_block_ms, u64::MAX);
    let builder = ProducerBuilder::new("localhost:9092").max_block(std::time::Duration::from_nanos(1));
    assert_eq!(builder.check().unwrap().max_block_ms, 1);
}

#[test]
fn texts_are_trimmed_and_booleans_may_have_capitals() {
    // CFG-1
    let config = with(&[("linger.ms", " 7 "), ("enable.idempotence", " FALSE ")]).unwrap();
    assert_eq!(config.linger_ms, 7);
    assert!(!config.enable_idempotence);
}

#[test]
fn lists_drop_duplicates_with_a_warning_and_refuse_empty_elements() {
    // CFG-1
    let (config, warnings) = warned(&[("bootstrap.servers", "a:1, b:2 ,a:1")]);
    let servers: Vec<_> = config.unwrap().bootstrap_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["a:1", "b:2"]);
    assert!(warnings.iter().any(|w| w.contains("a:1 stands more than once")), "{warnings:?}");
    assert!(refused(&[("bootstrap.servers", "a:1,")]).contains("empty element"));
    assert!(refused(&[("bootstrap.servers", "  ")]).contains("empty"));
}

#[test]
fn enumerated_values_are_exact() {
    // CFG-2
    assert!(
        refused(&[("acks", "ALL")])
            .contains("acks=ALL: not allowed; one of all, -1, 0, 1 (capitals count: all)")
    );
    assert!(refused(&[("compression.type", "LZ4")]).contains("capitals count: lz4"));
    assert!(refused(&[("compression.type", "zst")]).contains("did you mean zstd?"));
    // Except the few for which Kafka ignores case.
    assert!(!with(&[("metadata.recovery.strategy", "NONE")]).unwrap().metadata_rebootstrap);
    assert!(with(&[("security.protocol", "plaintext")]).is_ok());
}

#[test]
fn mistyped_keys_are_refused_with_the_key_that_was_meant() {
    // CFG-4
    for (typo, meant) in [
        ("max.blocks.ms", "max.block.ms"),
        ("max_request_size", "max.request.size"),
        ("Linger.ms", "linger.ms"),
        ("lingerms", "linger.ms"),
        ("batch.sice", "batch.size"),
        ("ack", "acks"),
        ("Queue.buffering.max.message", "queue.buffering.max.messages"),
        ("interceptor.class", "interceptor.classes"),
        ("BOOTSTRAP_SERVERS", "bootstrap.servers"),
    ] {
        let error = refused(&[(typo, "1")]);
        assert!(error.contains(&format!("{typo}=1: unknown key; did you mean {meant}?")), "{error}");
        let error = ProducerBuilder::new("a:1").set(typo, "1").unwrap_err().to_string();
        assert!(error.contains(&format!("did you mean {meant}?")), "{error}");
    }
}

#[test]
fn keys_that_nobody_knows_are_warned_about_in_a_map_and_refused_one_by_one() {
    // CFG-4
    let (config, warnings) = warned(&[("my.interceptor.depth", "5")]);
    assert!(config.is_ok());
    assert_eq!(warnings.iter().filter(|w| w.contains("my.interceptor.depth")).count(), 1);
    assert!(ProducerBuilder::new("a:1").set("my.interceptor.depth", "5").is_err());
    // A short key may differ by one letter only: this one is not taken for `acks`.
    assert!(warned(&[("stack", "5")]).0.is_ok());
}

#[test]
fn passwords_never_appear_in_errors_or_debug_output() {
    // CFG-5
    let pairs = [
        ("bootstrap.servers", "a:1"),
        ("ssl.key.password", "hunter2"),
        ("sasl.jaas.config", "user hunter2"),
        ("ssl.keystore.pasword", "hunter2"),
    ];
    let builder = ProducerBuilder::from_pairs(pairs);
    let error = builder.check().unwrap_err();
    for text in [error.to_string(), format!("{error:?}"), format!("{builder:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("ssl.key.password"), "{text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_with_key_and_value() {
    // CFG-6
    let error = ProducerBuilder::from_pairs([
        ("acks", "2"),
        ("linger.ms", "-1"),
        ("batch.size", "16k"),
        ("transactional.id", "orders"),
        ("num.io.threads", "8"),
    ])
    .check()
    .unwrap_err();
    assert_eq!(error.errors().len(), 6, "{error}");
    let text = error.to_string();
    for part in [
        "6 mistakes",
        "acks=2: not allowed; one of all, -1, 0, 1",
        "linger.ms=-1: not allowed; a whole number from 0 to 9223372036854775807 (milliseconds)",
        "batch.size=16k: not allowed; a whole number from 0 to 2147483647 (bytes)",
        "transactional.id=orders: transactions are not supported yet",
        "num.io.threads=8: not a producer's key: it is a setting of brokers",
        "bootstrap.servers: required",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[test]
fn a_file_s_mistakes_name_file_and_line() {
    // CFG-6
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("producer.properties");
    std::fs::write(&path, "# cluster\nbootstrap.servers = a:1,\\\n   b:2\nlinger.ms: x\n").unwrap();
    let error = ProducerBuilder::from_properties(&path).unwrap().check().unwrap_err().to_string();
    assert!(error.contains("linger.ms=x (") && error.contains("producer.properties, line 4)"), "{error}");
    std::fs::write(&path, "a=1\nb=\\u12\nc=2\nd=\\ud800x").unwrap();
    let error = ProducerBuilder::from_properties(&path).err().unwrap().to_string();
    assert!(error.contains("producer.properties, line 2: four hexadecimal digits"), "{error}");
    assert!(error.contains("producer.properties, line 4: "), "{error}");
    let error = ProducerBuilder::from_properties(directory.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn idempotence_yields_to_weaker_settings_unless_it_was_asked_for() {
    // CFG-7
    assert!(!with(&[("acks", "1")]).unwrap().enable_idempotence);
    assert!(!with(&[("retries", "0")]).unwrap().enable_idempotence);
    assert!(refused(&[("acks", "1"), ("enable.idempotence", "true")]).contains("acks=1: must be all"));
    assert!(
        refused(&[("retries", "0"), ("enable.idempotence", "true")]).contains("retries=0: must be above 0")
    );
    assert!(with(&[("acks", "-1"), ("enable.idempotence", "true")]).unwrap().enable_idempotence);
}

#[test]
fn more_than_five_in_flight_is_refused_unless_idempotence_is_switched_off_by_name() {
    // CFG-7
    let six = ("max.in.flight.requests.per.connection", "6");
    for pairs in
        [&[six][..], &[six, ("acks", "1")], &[six, ("retries", "0")], &[six, ("enable.idempotence", "true")]]
    {
        assert!(refused(pairs).contains("at most 5"), "{pairs:?}");
    }
    assert_eq!(with(&[six, ("enable.idempotence", "false")]).unwrap().max_in_flight, 6);
}

#[test]
fn a_delivery_timeout_covers_linger_and_request_timeout() {
    // CFG-9
    assert!(refused(&[("delivery.timeout.ms", "30004")]).contains("at least 30005"));
    assert_eq!(with(&[("delivery.timeout.ms", "30005")]).unwrap().delivery_timeout_ms, 30_005);
    let (config, warnings) = warned(&[("linger.ms", "200000")]);
    assert_eq!(config.unwrap().delivery_timeout_ms, 230_000);
    assert!(warnings.iter().any(|w| w.contains("raised from 120000 to 230000")));
    assert_eq!(with(&[("linger.ms", "2147483647")]).unwrap().delivery_timeout_ms, 2_147_483_647);
}

#[test]
fn a_reconnect_backoff_without_maximum_does_not_grow() {
    // CFG-10
    let waits = |config: Config| (config.reconnect_backoff_ms, config.reconnect_backoff_max_ms);
    assert_eq!(waits(with(&[("reconnect.backoff.ms", "300")]).unwrap()), (300, 300));
    assert_eq!(
        waits(with(&[("reconnect.backoff.ms", "300"), ("reconnect.backoff.max.ms", "200")]).unwrap()),
        (300, 200)
    );
    let (config, warnings) = warned(&[("retry.backoff.ms", "2000")]);
    assert_eq!(config.unwrap().retry_backoff_max_ms, 1000);
    assert!(warnings.iter().any(|w| w.contains("every wait will be 1000 ms")));
}

#[test]
fn a_batch_size_of_zero_acts_as_one_and_linger_is_cut() {
    // CFG-11
    let config = with(&[("batch.size", "0"), ("linger.ms", "9999999999")]).unwrap();
    assert_eq!((config.batch_size, config.linger_ms), (1, 2_147_483_647));
}

#[test]
fn client_ids_count_producers_and_an_empty_one_stays_empty() {
    // CFG-15
    let number = |config: Config| config.client_id.strip_prefix("producer-").unwrap().parse::<u64>().unwrap();
    let first = number(with(&[]).unwrap());
    assert!(first >= 1);
    assert!(number(with(&[]).unwrap()) > first);
    assert_eq!(with(&[("client.id", "")]).unwrap().client_id, "");
}

#[test]
fn a_server_without_a_port_is_refused() {
    // CFG-16
    let error = refused(&[("bootstrap.servers", "kafka1,b:2")]);
    assert!(error.contains("kafka1") && error.contains("port"), "{error}");
    assert!(refused(&[("bootstrap.servers", "a:99999")]).contains("a:99999"));
}

#[test]
fn old_keys_stand_in_for_today_s_with_a_warning() {
    // CFG-19
    let (config, warnings) = warned(&[("request.required.acks", "1"), ("queue.buffering.max.ms", "50")]);
    let config = config.unwrap();
    assert_eq!((config.acks, config.linger_ms), (Acks::Leader, 50));
    assert!(
        warnings.iter().any(|w| w.contains("request.required.acks is an old key; acks=1")),
        "{warnings:?}"
    );
    // Both together must say the same.
    assert!(with(&[("request.required.acks", "1"), ("acks", "1")]).is_ok());
    let error = refused(&[("acks", "all"), ("request.required.acks", "1")]);
    assert!(error.contains("request.required.acks=1: contradicts acks=all"), "{error}");
}

#[test]
fn old_waits_are_converted() {
    // CFG-20
    assert_eq!(with(&[("queue.enqueue.timeout.ms", "0")]).unwrap().max_block_ms, 0);
    assert_eq!(with(&[("queue.enqueue.timeout.ms", "-1")]).unwrap().max_block_ms, u64::MAX);
    assert_eq!(with(&[("queue.enqueue.timeout.ms", "250")]).unwrap().max_block_ms, 250);
    assert_eq!(with(&[("queue.buffering.max.kbytes", "64")]).unwrap().buffer_memory, 65_536);
    assert_eq!(with(&[("topic.metadata.refresh.interval.ms", "-1")]).unwrap().metadata_max_age_ms, u64::MAX);
    assert_eq!(with(&[("topic.metadata.refresh.interval.ms", "0")]).unwrap().metadata_max_age_ms, 1000);
    assert_eq!(with(&[("message.timeout.ms", "0")]).unwrap().delivery_timeout_ms, 2_147_483_647);
}

#[test]
fn limits_by_count_stand_beside_those_in_bytes() {
    // CFG-21
    let config = with(&[("queue.buffering.max.messages", "10000"), ("batch.num.messages", "200")]).unwrap();
    assert_eq!((config.queue_buffering_max_messages, config.batch_num_messages), (Some(10_000), Some(200)));
    let config = with(&[]).unwrap();
    assert_eq!((config.queue_buffering_max_messages, config.batch_num_messages), (None, None));
    assert_eq!(with(&[("batch.num.messages", "0")]).unwrap().batch_num_messages, None);
    assert!(refused(&[("batch.num.messages", "-1")]).contains("from 0 to"));
}

#[test]
fn what_is_not_supported_yet_is_refused_unless_it_changes_nothing() {
    for (key, value) in [
        ("security.protocol", "SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("interceptor.classes", "my.Interceptor"),
        ("transactional.id", "t"),
        ("ssl.truststore.location", "/etc/ca.pem"),
    ] {
        assert!(refused(&[(key, value)]).contains("not supported yet"), "{key}");
    }
    assert!(
        with(&[
            ("security.protocol", "PLAINTEXT"),
            ("partitioner.class", "null"),
            ("interceptor.classes", "")
        ])
        .is_ok()
    );
}

// CFG-3
#[test]
fn serializers_named_by_class_say_what_takes_their_place() {
    let kafkas = |class: &str| format!("org.apache.kafka.common.serialization.{class}");
    let (config, warnings) = warned(&[
        ("key.serializer", &kafkas("StringSerializer")),
        ("value.serializer", "com.example.AvroSerializer"),
        ("serializer.encoding", "UTF-16"),
    ]);
    assert!(config.is_ok(), "bytes need none: they are not required");
    assert!(warnings[0].contains("StringSerializer is topic.key(Utf8 "), "{warnings:?}");
    assert!(warnings[1].contains("implement rohrpost::Serializer"), "{warnings:?}");
    assert!(warnings[2].contains("serializer.encoding is not a key of a producer"), "{warnings:?}");
    for (class, serializer) in [
        ("ByteArraySerializer", "value(Raw"),
        ("LongSerializer", "value(Number)"),
        ("UUIDSerializer", "value(UuidText)"),
        ("VoidSerializer", "value(Unit)"),
    ] {
        let (_, warnings) = warned(&[("value.serializer", &kafkas(class))]);
        assert!(warnings[0].contains(&format!("{class} is topic.{serializer}")), "{warnings:?}");
    }
}

// CFG-8
#[test]
fn a_transactional_id_needs_idempotence_and_a_name() {
    let id = ("transactional.id", "orders");
    for weaker in [("acks", "1"), ("retries", "0"), ("enable.idempotence", "false")] {
        assert!(refused(&[id, weaker]).contains("transactional.id=orders: needs idempotence"), "{weaker:?}");
    }
    assert!(!refused(&[id]).contains("needs idempotence"));
    assert!(refused(&[("transactional.id", " ")]).contains("may not be empty"));
}

// CFG-12
#[test]
fn sasl_needs_a_mechanism() {
    let error = refused(&[("security.protocol", "sasl_plaintext"), ("sasl.mechanism", "")]);
    assert!(
        error.contains("sasl.mechanism=: may not be empty with security.protocol=SASL_PLAINTEXT"),
        "{error}"
    );
    let error = refused(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "PLAIN")]);
    assert!(!error.contains("may not be empty"), "{error}");
}

// CFG-13, CFG-14
#[test]
fn two_phase_commit_and_a_transaction_timeout_exclude_each_other_and_need_transactions() {
    let two_phase = ("transaction.two.phase.commit.enable", "true");
    let both = refused(&[("transactional.id", "t"), two_phase, ("transaction.timeout.ms", "60000")]);
    assert!(both.contains("exclude each other"), "{both}");
    assert!(!refused(&[("transactional.id", "t"), two_phase]).contains("exclude each other"));
    assert!(refused(&[two_phase]).contains("needs a transactional.id"));
    assert!(refused(&[("transaction.two.phase.commit.enable", "yes")]).contains("true or false"));
    for ms in ["0", "-1"] {
        assert!(refused(&[("transaction.timeout.ms", ms)]).contains("from 1 to 2147483647"), "{ms}");
    }
    assert!(with(&[("transaction.timeout.ms", "60000")]).is_ok());
}

// CFG-18
#[test]
fn rack_aware_partitioning_needs_a_rack() {
    let aware = ("partitioner.rack.aware", "true");
    for pairs in [&[aware][..], &[aware, ("client.rack", " ")]] {
        assert!(refused(pairs).contains("needs client.rack"), "{pairs:?}");
    }
    assert_eq!(with(&[aware, ("client.rack", "east")]).unwrap().partitioner_rack.as_deref(), Some("east"));
    assert_eq!(with(&[("client.rack", "east")]).unwrap().partitioner_rack, None);
}

// PAR-17
#[test]
fn partitioners_are_known_by_kafkas_class_names() {
    use PartitionerClass::{BuiltIn, RoundRobin, UniformSticky};
    let package = "org.apache.kafka.clients.producer.";
    for (name, class, is_removed) in [
        ("null", BuiltIn, false),
        ("", BuiltIn, false),
        ("RoundRobinPartitioner", RoundRobin, false),
        ("RoundRobin", RoundRobin, false),
        (&format!("{package}RoundRobinPartitioner"), RoundRobin, false),
        (&format!("{package}UniformStickyPartitioner"), UniformSticky, true),
        (&format!("{package}internals.DefaultPartitioner"), BuiltIn, true),
        ("DefaultPartitioner", BuiltIn, true),
    ] {
        let (config, warnings) = warned(&[("partitioner.class", name)]);
        assert_eq!(config.unwrap().partitioner, class, "{name}");
        assert_eq!(
            warnings.iter().any(|w| w.contains("Kafka has removed")),
            is_removed,
            "{name}: {warnings:?}"
        );
    }
    for name in
        ["com.example.RoundRobinPartitioner", "Random", "org.apache.kafka.clients.producer.", "Partitioner"]
    {
        assert!(refused(&[("partitioner.class", name)]).contains("ProducerBuilder::partitioner"), "{name}");
    }
}

// CFG-17
#[test]
fn topics_have_settings_of_their_own_and_the_producers_where_they_have_none() {
    let config = with(&[
        ("linger.ms", "7"),
        ("compression.type", "gzip"),
        ("compression.gzip.level", "2"),
        ("topic.clicks.linger.ms", " 100 "),
        ("topic.clicks.batch.size", "0"),
        ("topic.logs.v1.compression.type", "none"),
        ("topic.logs.v1.delivery.timeout.ms", "200000"),
        ("topic.fast.compression.gzip.level", "1"),
    ])
    .unwrap();
    let clicks = config.topic("clicks");
    assert_eq!((clicks.linger_ms, clicks.batch_size, clicks.delivery_timeout_ms), (100, 1, 120_000));
    assert_eq!(clicks.compression, config.compression);
    let logs = config.topic("logs.v1");
    assert_eq!((logs.linger_ms, logs.delivery_timeout_ms), (7, 200_000));
    assert_eq!(logs.compression, rohrpost_record::Compression::NONE);
    let level = |level| rohrpost_record::Compression::new(Codec::Gzip, Some(level)).unwrap();
    assert_eq!((config.topic("fast").compression, config.topic("other").compression), (level(1), level(2)));
    assert_eq!(config.topic("other"), TopicConfig::of(&config));
    let typed = ProducerBuilder::new("a:1").topic("clicks", |clicks| {
        clicks
            .linger(std::time::Duration::from_millis(100))
            .batch_size(9)
            .delivery_timeout(std::time::Duration::from_secs(60))
            .compression(super::super::Compression::Gzip(1))
    });
    let clicks = typed.check().unwrap().topic("clicks");
    assert_eq!((clicks.linger_ms, clicks.batch_size, clicks.delivery_timeout_ms), (100, 9, 60_000));
    assert_eq!(clicks.compression, level(1));
}

// CFG-17, CFG-6, CFG-9
#[test]
fn mistakes_in_topics_settings_are_told_with_all_others() {
    let error = ProducerBuilder::from_pairs([
        ("bootstrap.servers", "a:1"),
        ("acks", "2"),
        ("topic.a.linger.ms", "-1"),
        ("topic.b.compression.type", "LZ4"),
        ("topic.c.acks", "1"),
        ("topic.d.linger.m", "1"),
        ("topic.e.delivery.timeout.ms", "30004"),
    ])
    .check()
    .unwrap_err();
    let text = error.to_string();
    assert_eq!(error.errors().len(), 6, "{text}");
    for part in [
        "topic.a.linger.ms=-1: not allowed; a whole number from 0 to",
        "topic.b.compression.type=LZ4: not allowed; one of none, gzip, snappy, lz4, zstd (capitals count: lz4)",
        "topic.c.acks=1: acks is one for the whole producer, because a request carries one value for all its topics",
        "topic.d.linger.m=1: unknown key; did you mean topic.d.linger.ms?",
        "topic.e.delivery.timeout.ms=30004: below the topic's linger.ms + request.timeout.ms = 5 + 30000; at least 30005",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    // One by one they are refused at once, and keys that only look so are left to others, as all keys of a map are (CFG-4).
    assert!(ProducerBuilder::new("a:1").set("topic.c.acks", "1").is_err());
    assert!(ProducerBuilder::new("a:1").set("topic.name", "orders").is_err());
    assert!(ProducerBuilder::new("a:1").set("topic.c.linger.ms", "1").is_ok());
    assert!(warned(&[("topic.name", "orders")]).1.iter().any(|w| w.contains("topic.name is not a key")));
    assert!(refused(&[("topic.recreatoin", "hold")]).contains("did you mean topic.recreation?"));
}

// CFG-4
#[test]
fn what_a_map_may_hold_for_others_is_refused_where_it_was_set_for_the_producer() {
    let others = [("schema.registry.url", "x"), ("linger", "5")];
    let (config, warnings) = warned(&others);
    assert!(config.is_ok());
    assert_eq!(warnings[0], "schema.registry.url is not a key of a producer and has no effect");
    assert!(warnings[1].ends_with("has no effect; did you mean linger.ms?"), "{warnings:?}");
    let refused = ProducerBuilder::new("a:1").set_all(others).check().unwrap_err().to_string();
    assert!(refused.contains("schema.registry.url=x: unknown key"), "{refused}");
    assert!(refused.contains("linger=5: unknown key; did you mean linger.ms?"), "{refused}");
}

// CFG-9, CFG-17
#[test]
fn a_topics_delivery_timeout_covers_its_linger() {
    let (config, warnings) = warned(&[("topic.slow.linger.ms", "200000")]);
    let config = config.unwrap();
    assert_eq!((config.topic("slow").delivery_timeout_ms, config.delivery_timeout_ms), (230_000, 120_000));
    assert!(
        warnings.iter().any(|w| w.contains("delivery.timeout.ms of topic slow is raised")),
        "{warnings:?}"
    );
    let error = refused(&[("topic.slow.linger.ms", "200000"), ("delivery.timeout.ms", "120000")]);
    assert!(error.contains("set topic.slow.delivery.timeout.ms to 230000"), "{error}");
}

// CFG-17
#[test]
fn the_old_list_of_compressed_topics_leaves_the_others_plain() {
    let old = [("compression.codec", "gzip"), ("compressed.topics", "a, b")];
    let (config, warnings) = warned(&old);
    let config = config.unwrap();
    let codec = |topic: &str| config.topic(topic).compression.codec();
    assert_eq!((codec("a"), codec("b"), codec("c")), (Codec::Gzip, Codec::Gzip, Codec::None));
    assert!(warnings.iter().any(|w| w.contains("compressed.topics is an old key")), "{warnings:?}");
    let all = with(&[("compression.codec", "gzip"), ("compressed.topics", "")]).unwrap();
    assert_eq!(all.topic("c").compression.codec(), Codec::Gzip);
    assert!(refused(&[("compressed.topics", "a b")]).contains("\"a b\" is no topic name"));
    let own =
        with(&[old[0], old[1], ("topic.a.compression.type", "none"), ("topic.c.linger.ms", "9")]).unwrap();
    assert_eq!(own.topic("a").compression.codec(), Codec::None);
    assert_eq!(own.topic("c").compression.codec(), Codec::None, "it is not listed");
}

// CFG-19 to CFG-22
#[test]
fn every_old_key_of_the_first_producers_is_obeyed_as_todays() {
    let value =
        |pairs: &[(&str, &str)]| format!("{:?}", with(&[pairs, &[("client.id", "c")]].concat()).unwrap());
    for (old, said, today, means) in [
        ("request.required.acks", "-1", "acks", "all"),
        ("request.required.acks", "0", "acks", "0"),
        ("message.send.max.retries", "3", "retries", "3"),
        ("queue.buffering.max.ms", "5000", "linger.ms", "5000"),
        ("topic.metadata.refresh.interval.ms", "600000", "metadata.max.age.ms", "600000"),
        ("topic.metadata.refresh.interval.ms", "0", "metadata.max.age.ms", "1000"),
        ("topic.metadata.refresh.interval.ms", "-1", "metadata.max.age.ms", "9223372036854775807"),
        ("queue.enqueue.timeout.ms", "0", "max.block.ms", "0"),
        ("queue.enqueue.timeout.ms", "-1", "max.block.ms", "9223372036854775807"),
        ("queue.enqueue.timeout.ms", "2147483647", "max.block.ms", "2147483647"),
        ("metadata.broker.list", "a:1", "bootstrap.servers", "a:1"),
        ("compression.codec", "snappy", "compression.type", "snappy"),
        ("timeout.ms", "20000", "request.timeout.ms", "20000"),
        ("metadata.fetch.timeout.ms", "9", "max.block.ms", "9"),
        ("block.on.buffer.full", "true", "max.block.ms", "9223372036854775807"),
        ("message.timeout.ms", "50000", "delivery.timeout.ms", "50000"),
        ("message.max.bytes", "1000000", "max.request.size", "1000000"),
        ("max.in.flight", "2", "max.in.flight.requests.per.connection", "2"),
        ("queue.buffering.max.kbytes", "2", "buffer.memory", "2048"),
    ] {
        if old == "metadata.broker.list" {
            let config = ProducerBuilder::from_pairs([(old, said)]).check().unwrap();
            assert_eq!(config.bootstrap_servers[0].to_string(), means);
            continue;
        }
        assert_eq!(value(&[(old, said)]), value(&[(today, means)]), "{old}={said}");
        let (_, warnings) = warned(&[(old, said)]);
        assert!(
            warnings.iter().any(|w| w.contains(&format!("{old} is an old key; {today}="))),
            "{warnings:?}"
        );
    }
    // CFG-22: what circulates as the old defaults counts only where somebody sets it.
    let console = [
        ("message.send.max.retries", "3"),
        ("queue.buffering.max.messages", "10000"),
        ("batch.num.messages", "200"),
        ("request.timeout.ms", "1500"),
        ("queue.buffering.max.ms", "1000"),
        ("topic.metadata.refresh.interval.ms", "300000"),
        ("queue.enqueue.timeout.ms", "2147483647"),
        ("client.id", "console-producer"),
    ];
    let config = with(&console).unwrap();
    assert_eq!((config.retries, config.request_timeout_ms, config.linger_ms), (3, 1500, 1000));
    assert_eq!((config.queue_buffering_max_messages, config.batch_num_messages), (Some(10_000), Some(200)));
    assert_eq!((config.metadata_max_age_ms, config.max_block_ms), (300_000, 2_147_483_647));
    assert_eq!((config.client_id.as_str(), config.acks), ("console-producer", Acks::All));
    for key in super::super::config_keys().filter(|key| key.origin() == super::super::Origin::Legacy) {
        let modern = match key.status() {
            super::super::KeyStatus::StandsFor(modern) => modern,
            _ => continue,
        };
        let todays = super::super::config_keys().find(|key| key.name() == modern).unwrap();
        assert!(
            todays.origin() == super::super::Origin::Kafka,
            "{}: its default is Kafka's of today",
            key.name()
        );
    }
}

#[test]
fn keys_without_effect_are_read_all_the_same() {
    for (key, value) in [
        ("bootstrap.resolve.timeout.ms", "-1"),
        ("metadata.cluster.check.enable", "perhaps"),
        ("buffer.memory.allocation.strategy", "half"),
        ("metrics.recording.level", "info"),
        ("metric.reporters", "a,"),
        ("producer.type", "both"),
        ("enable.metrics.push", "1"),
    ] {
        assert!(refused(&[(key, value)]).contains(&format!("{key}={value}: not allowed;")), "{key}");
    }
    let (config, warnings) = warned(&[
        ("bootstrap.resolve.timeout.ms", "100"),
        ("metadata.cluster.check.enable", "TRUE"),
        ("metrics.recording.level", "INFO"),
        ("metrics.context.team", "any"),
    ]);
    assert!(config.is_ok() && warnings.len() == 4, "{warnings:?}");
}

// MTR-3
#[test]
fn who_names_reporters_of_metrics_hears_what_there_is_instead() {
    let reporters = "org.apache.kafka.common.metrics.JmxReporter,com.example.Reporter";
    let (config, warnings) = warned(&[("metric.reporters", reporters)]);
    assert!(config.is_ok());
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    for word in ["no effect", "class of Java", "Producer::metrics_snapshot", "to_prometheus", "to_otlp_json"]
    {
        assert!(warning.contains(word), "{word}: {warning}");
    }
    let key = super::super::config_keys().find(|key| key.name() == "metric.reporters").unwrap();
    let super::super::KeyStatus::Ignored(told) = key.status() else { panic!("{:?}", key.status()) };
    assert!(warning.ends_with(told), "`rohrpost config` says the same: {told}");
}

#[test]
fn the_last_setting_of_a_key_counts() {
    assert_eq!(with(&[("linger.ms", "x"), ("linger.ms", "9")]).unwrap().linger_ms, 9);
}

#[test]
fn levels_are_checked_for_every_codec() {
    assert!(refused(&[("compression.gzip.level", "0")]).contains("-1 or 1 to 9"));
    assert!(refused(&[("compression.lz4.level", "18")]).contains("from 1 to 17"));
    let config = with(&[("compression.type", "gzip"), ("compression.gzip.level", "6")]).unwrap();
    assert_eq!(config.compression.codec(), Codec::Gzip);
    assert_eq!(with(&[("compression.type", "snappy")]).unwrap().compression.codec(), Codec::Snappy);
}

#[test]
fn our_own_keys_say_what_becomes_of_records_that_meet_trouble() {
    // MET-9, RTY-5, ERR-3
    let config = with(&[]).unwrap();
    assert_eq!(config.topic_recreation, TopicRecreation::Follow);
    assert_eq!(config.stop_on_failure, StopOnFailure::Never);
    assert!(!config.resend_innocent_records);
    let config = with(&[("topic.recreation", "hold"), ("stop.on.failure", "a, b")]).unwrap();
    assert_eq!(config.topic_recreation, TopicRecreation::Hold);
    assert_eq!(config.stop_on_failure, StopOnFailure::Topics(vec!["a".into(), "b".into()]));
    assert_eq!(with(&[("stop.on.failure", "a,*")]).unwrap().stop_on_failure, StopOnFailure::AllTopics);
    assert!(refused(&[("topic.recreation", "follows")]).contains("did you mean follow?"));
    assert!(refused(&[("stop.on.failure", "a b")]).contains("no topic name"));
    let builder = ProducerBuilder::new("a:1").stop_on_failure("a").stop_on_failure("b");
    let config = builder.topic_recreation(TopicRecreation::Fail).check().unwrap();
    assert_eq!(config.stop_on_failure, StopOnFailure::Topics(vec!["a".into(), "b".into()]));
    assert_eq!(config.topic_recreation, TopicRecreation::Fail);
}
