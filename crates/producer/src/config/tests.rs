//! Configuration, as a user meets it.

use super::*;
use crate::config::ProducerBuilder;

/// The outcome of a configuration of pairs with a usable server: errors as text.
fn with(pairs: &[(&str, &str)]) -> Result<Config, String> {
    warned(pairs).0
}

/// The same, and the warnings.
fn warned(pairs: &[(&str, &str)]) -> (Result<Config, String>, Vec<String>) {
    let mut all = vec![("bootstrap.servers", "localhost:9092")];
    all.extend_from_slice(pairs);
    let builder = ProducerBuilder::from_pairs(all);
    let (result, warnings) = resolve_quietly(&builder.settings);
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
        "linger.ms=-1: not allowed; a whole number from 0 to",
        "batch.size=16k: not allowed",
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
        ("partitioner.class", "my.Partitioner"),
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
    let (config, warnings) =
        warned(&[("key.serializer", "org.apache.kafka.common.serialization.StringSerializer")]);
    assert!(config.is_ok() && warnings.len() == 1, "{warnings:?}");
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
