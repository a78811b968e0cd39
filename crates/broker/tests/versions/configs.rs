//! DescribeConfigs, IncrementalAlterConfigs and AlterConfigs.

use rohrpost_protocol::ErrorCode;
use rohrpost_protocol::messages::describe_configs::{DescribeConfigsResource, DescribeConfigsResult};
use rohrpost_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, alter_configs,
    incremental_alter_configs,
};

use crate::bench::*;

/// Resource types.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
/// Operations.
pub(crate) const SET: i8 = 0;
pub(crate) const DELETE: i8 = 1;
pub(crate) const APPEND: i8 = 2;
pub(crate) const SUBTRACT: i8 = 3;

pub(crate) type Op<'a> = (&'a str, i8, Option<&'a str>);
/// Key and value.
pub(crate) type Pair<'a> = (&'a str, Option<&'a str>);

pub(crate) fn incremental<'a>(
    resources: &[(i8, &'a str, &[Op<'a>])],
    validate_only: bool,
) -> IncrementalAlterConfigsRequest<'a> {
    let config = |&(name, config_operation, value): &Op<'a>| incremental_alter_configs::AlterableConfig {
        name,
        config_operation,
        value,
        ..Default::default()
    };
    let resource = |(resource_type, resource_name, ops): &(i8, &'a str, &[Op<'a>])| {
        incremental_alter_configs::AlterConfigsResource {
            resource_type: *resource_type,
            resource_name,
            configs: ops.iter().map(config).collect(),
            ..Default::default()
        }
    };
    IncrementalAlterConfigsRequest {
        resources: resources.iter().map(resource).collect(),
        validate_only,
        ..Default::default()
    }
}

pub(crate) fn all<'a>(
    resources: &[(i8, &'a str, &[Pair<'a>])],
    validate_only: bool,
) -> AlterConfigsRequest<'a> {
    let resource = |(resource_type, resource_name, configs): &(i8, &'a str, &[Pair<'a>])| {
        alter_configs::AlterConfigsResource {
            resource_type: *resource_type,
            resource_name,
            configs: configs
                .iter()
                .map(|&(name, value)| alter_configs::AlterableConfig { name, value, ..Default::default() })
                .collect(),
            ..Default::default()
        }
    };
    AlterConfigsRequest {
        resources: resources.iter().map(resource).collect(),
        validate_only,
        ..Default::default()
    }
}

pub(crate) fn describe<'a>(resources: &[(i8, &'a str, Option<Vec<&'a str>>)]) -> DescribeConfigsRequest<'a> {
    let resource = |(resource_type, resource_name, keys): &(i8, &'a str, Option<Vec<&'a str>>)| {
        DescribeConfigsResource {
            resource_type: *resource_type,
            resource_name,
            configuration_keys: keys.clone(),
            ..Default::default()
        }
    };
    DescribeConfigsRequest { resources: resources.iter().map(resource).collect(), ..Default::default() }
}

/// Value and source of one key.
fn setting<'a>(result: &DescribeConfigsResult<'a>, name: &str) -> Option<(Option<&'a str>, i8)> {
    let config = result.configs.iter().find(|config| config.name == name)?;
    Some((config.value, config.config_source))
}

/// Value and source of a topic's key as the broker describes it.
fn topic_setting(bench: &mut Bench, topic: &str, key: &str) -> (String, i8) {
    let response = bench.client.call(&describe(&[(TOPIC, topic, Some(vec![key]))]), 4);
    let (value, source) = setting(&response.results[0], key).unwrap();
    (value.unwrap().to_owned(), source)
}

/// Q1, Q2, M9
pub(crate) fn describe_answers(bench: &mut Bench, version: i16) {
    let node_id = bench.node_id.to_string();
    let other = (bench.node_id + 7).to_string();
    let resources = [
        (TOPIC, "stamped", None),
        (TOPIC, "nowhere", None),
        (BROKER, node_id.as_str(), None),
        (TOPIC, "a/b", None),
        (BROKER, "", None),
        (BROKER, other.as_str(), None),
        (BROKER, "one", None),
        (8, node_id.as_str(), None),
        (0, "t", None),
        (TOPIC, "keyed", Some(vec!["cleanup.policy", "no.such.key"])),
        (TOPIC, "t", Some(Vec::new())),
        (TOPIC, "t", None),
    ];
    let mut request = describe(&resources);
    (request.include_synonyms, request.include_documentation) = (true, version >= 3);
    let response = bench.client.call(&request, version);
    let answers: Vec<_> =
        response.results.iter().map(|r| (r.resource_type, r.resource_name, r.error_code)).collect();
    let invalid = ErrorCode::INVALID_REQUEST;
    let codes = [
        ErrorCode::NONE,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::NONE,
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        ErrorCode::NONE,
        invalid,
        invalid,
        invalid,
        invalid,
        ErrorCode::NONE,
        ErrorCode::NONE,
        invalid, // "t" is named twice
    ];
    let expected: Vec<_> =
        resources.iter().zip(codes).map(|((t, name, _), code)| (*t, *name, code)).collect();
    assert_eq!(answers, expected);
    for result in &response.results {
        assert_eq!(result.error_message.is_some(), result.error_code.is_error(), "{}", result.resource_name);
        assert!(result.error_code.is_ok() || result.configs.is_empty());
    }

    // a topic: set, and not set
    let stamped = &response.results[0];
    assert_eq!(setting(stamped, "message.timestamp.type"), Some((Some("LogAppendTime"), 1)));
    assert_eq!(setting(stamped, "retention.ms"), Some((Some("604800000"), 5)));
    assert!(stamped.configs.iter().all(|config| !config.read_only && !config.is_sensitive));
    let names: Vec<_> = stamped.configs.iter().map(|config| config.name).collect();
    assert!(names.is_sorted() && names.len() > 25, "{names:?}");
    let config = stamped.configs.iter().find(|config| config.name == "message.timestamp.type").unwrap();
    let synonyms: Vec<_> = config.synonyms.iter().map(|s| (s.name, s.value, s.source)).collect();
    assert_eq!(
        synonyms,
        [
            ("message.timestamp.type", Some("LogAppendTime"), 1),
            ("log.message.timestamp.type", Some("CreateTime"), 5)
        ]
    );
    assert_eq!(config.config_type, if version >= 3 { 2 } else { 0 });
    assert_eq!(config.documentation.is_some_and(|text| text.contains("LogAppendTime")), version >= 3);
    let retention = stamped.configs.iter().find(|config| config.name == "retention.ms").unwrap();
    // as Kafka: that the default comes from the last of three keys is not told
    assert!(retention.synonyms.is_empty());
    assert_eq!(retention.config_type, if version >= 3 { 5 } else { 0 });
    // a broker: given, default, and what needs a restart
    let broker = &response.results[2];
    assert_eq!(setting(broker, "auto.create.topics.enable"), Some((Some("false"), 4)));
    assert_eq!(setting(broker, "num.partitions"), Some((Some("1"), 5)));
    let read_only = |name| broker.configs.iter().find(|c| c.name == name).map(|config| config.read_only);
    assert_eq!(read_only("num.partitions"), Some(true));
    assert_eq!(read_only("log.retention.ms"), Some(false));
    // E12: what this broker does not act on is not there
    assert_eq!(setting(broker, "replica.lag.time.max.ms"), None);
    // only the keys asked for
    let keyed: Vec<_> = response.results[9].configs.iter().map(|config| config.name).collect();
    assert_eq!(keyed, ["cleanup.policy"]);
    assert_eq!(response.results[10].configs.len(), names.len());

    // without synonyms and documentation
    let response = bench.client.call(&describe(&[(TOPIC, "stamped", None)]), version);
    let configs = &response.results[0].configs;
    assert!(configs.iter().all(|config| config.synonyms.is_empty()));
    assert!(configs.iter().all(|config| config.documentation.unwrap_or_default().is_empty()));
    assert!(bench.client.call(&describe(&[]), version).results.is_empty());
}

/// Q1, Q2, M10
pub(crate) fn incremental_answers(bench: &mut Bench, version: i16) {
    let node_id = bench.node_id.to_string();
    let other = (bench.node_id + 7).to_string();
    let name = format!("changing{version}");
    bench.cluster.create_topic(&name, 1, 1).unwrap();
    bench.cluster.create_topic(&format!("{name}-2"), 1, 1).unwrap();
    let second = format!("{name}-2");
    let [name, second, node_id, other] = [&name, &second, &node_id, &other].map(|text| text.as_str());
    let ops: &[Op<'_>] = &[
        ("retention.ms", SET, Some("1000")),
        ("cleanup.policy", APPEND, Some("compact")),
        ("max.message.bytes", SET, Some(" 2000 ")),
    ];
    for validate_only in [true, false] {
        let request = incremental(&[(TOPIC, name, ops)], validate_only);
        let response = bench.client.call(&request, version);
        let answers: Vec<_> = response
            .responses
            .iter()
            .map(|r| (r.resource_type, r.resource_name, r.error_code, r.error_message))
            .collect();
        assert_eq!(answers, [(TOPIC, name, ErrorCode::NONE, None)]);
        let (retention, policy) = if validate_only {
            (("604800000", 5), ("delete", 5))
        } else {
            (("1000", 1), ("delete,compact", 1))
        };
        for (key, (value, source)) in [("retention.ms", retention), ("cleanup.policy", policy)] {
            assert_eq!(topic_setting(bench, name, key), (value.to_owned(), source));
        }
    }
    // errors, and good ones among them
    let bad: [(i8, &str, &[Op<'_>], ErrorCode); 20] = [
        (TOPIC, "nowhere", ops, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "a/b", ops, ErrorCode::INVALID_TOPIC_EXCEPTION),
        (TOPIC, "", ops, ErrorCode::INVALID_REQUEST),
        (TOPIC, "keyed", &[("cleanup.policy", SUBTRACT, Some("compact"))], ErrorCode::NONE),
        // one bad value spoils the good one beside it
        (
            TOPIC,
            name,
            &[("retention.ms", DELETE, None), ("segment.bytes", SET, Some("1"))],
            ErrorCode::INVALID_CONFIG,
        ),
        (TOPIC, second, &[("no.such.key", SET, Some("1"))], ErrorCode::INVALID_CONFIG),
        (TOPIC, "t", &[("retention.ms", SET, None)], ErrorCode::INVALID_REQUEST),
        (
            TOPIC,
            "stamped",
            &[("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("1"))],
            ErrorCode::INVALID_REQUEST,
        ),
        (TOPIC, "__consumer_offsets", &[("retention.ms", APPEND, Some("1"))], ErrorCode::INVALID_CONFIG),
        (BROKER, node_id, &[("num.partitions", SET, Some("2"))], ErrorCode::INVALID_REQUEST),
        (BROKER, "", &[("log.retention.ms", SET, Some("soon"))], ErrorCode::INVALID_CONFIG),
        (BROKER, other, &[("log.retention.ms", SET, Some("1"))], ErrorCode::INVALID_REQUEST),
        (BROKER, "one", &[], ErrorCode::INVALID_REQUEST),
        (8, node_id, &[("kafka", SET, Some("DEBUG"))], ErrorCode::INVALID_REQUEST),
        (16, "metrics", &[], ErrorCode::INVALID_REQUEST),
        (-1, "t", &[], ErrorCode::INVALID_REQUEST),
        (TOPIC, "twice", &[], ErrorCode::INVALID_REQUEST),
        (TOPIC, "twice", &[], ErrorCode::INVALID_REQUEST),
        (32, "group", &[("retention.ms", 9, Some("1"))], ErrorCode::INVALID_REQUEST),
        (0, "", &[], ErrorCode::INVALID_REQUEST),
    ];
    let resources: Vec<_> = bad.iter().map(|(kind, name, ops, _)| (*kind, *name, *ops)).collect();
    let response = bench.client.call(&incremental(&resources, false), version);
    let answers: Vec<_> =
        response.responses.iter().map(|r| (r.resource_type, r.resource_name, r.error_code)).collect();
    let expected: Vec<_> = bad.iter().map(|(kind, name, _, code)| (*kind, *name, *code)).collect();
    assert_eq!(answers, expected);
    for result in &response.responses {
        assert_eq!(result.error_message.is_some(), result.error_code.is_error(), "{}", result.resource_name);
    }
    assert_eq!(topic_setting(bench, name, "retention.ms"), ("1000".to_owned(), 1));
    assert_eq!(topic_setting(bench, "keyed", "cleanup.policy"), (String::new(), 1));
    // an operation that does not exist
    let unknown = incremental(&[(TOPIC, name, &[("retention.ms", 4, Some("1"))])], false);
    assert_eq!(bench.client.call(&unknown, version).responses[0].error_code, ErrorCode::INVALID_REQUEST);
    // brokers: for one and for all, and back
    for (broker, source) in [("", 3), (node_id, 2)] {
        let set: &[Op<'_>] = &[("log.retention.ms", SET, Some("77"))];
        let response = bench.client.call(&incremental(&[(BROKER, broker, set)], false), version);
        assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
        assert_eq!(topic_setting(bench, "t", "retention.ms"), ("77".to_owned(), source));
        let described = bench.client.call(&describe(&[(BROKER, node_id, None), (BROKER, "", None)]), 4);
        assert_eq!(setting(&described.results[0], "log.retention.ms"), Some((Some("77"), source)));
        assert_eq!(setting(&described.results[1], "log.retention.ms"), Some((Some("77"), 3)));
    }
    for broker in [node_id, ""] {
        let delete: &[Op<'_>] = &[("log.retention.ms", DELETE, None)];
        let response = bench.client.call(&incremental(&[(BROKER, broker, delete)], false), version);
        assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    }
    assert_eq!(topic_setting(bench, "t", "retention.ms"), ("604800000".to_owned(), 5));
    let back: &[Op<'_>] = &[("cleanup.policy", SET, Some("compact"))];
    bench.client.call(&incremental(&[(TOPIC, "keyed", back)], false), version);
    assert!(bench.client.call(&incremental(&[], false), version).responses.is_empty());
}

/// Q1, Q2, M10: what is not named is deleted
pub(crate) fn alter_answers(bench: &mut Bench, version: i16) {
    let name = format!("replaced{version}");
    bench.cluster.create_topic(&name, 1, 1).unwrap();
    let name = name.as_str();
    let both: &[Pair<'_>] = &[("retention.ms", Some("1000")), ("segment.ms", Some("2000"))];
    let one: &[Pair<'_>] = &[("segment.ms", Some("3000"))];
    let mut alter = |configs, validate_only| {
        let response = bench.client.call(&all(&[(TOPIC, name, configs)], validate_only), version);
        let [result] = &response.responses[..] else { panic!("one result") };
        assert_eq!((result.resource_type, result.resource_name), (TOPIC, name));
        assert_eq!((result.error_code, result.error_message), (ErrorCode::NONE, None));
        ["retention.ms", "segment.ms"].map(|key| topic_setting(bench, name, key))
    };
    let set = |value: &str| (value.to_owned(), 1);
    let unset = || ("604800000".to_owned(), 5);
    assert_eq!(alter(both, true), [unset(), unset()]);
    assert_eq!(alter(both, false), [set("1000"), set("2000")]);
    assert_eq!(alter(one, false), [unset(), set("3000")]);
    let bad: [(i8, &str, &[Pair<'_>], ErrorCode); 7] = [
        (TOPIC, "nowhere", both, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, name, &[("segment.ms", Some("0"))], ErrorCode::INVALID_CONFIG),
        (TOPIC, "t", &[], ErrorCode::NONE),
        (TOPIC, "stamped", &[("segment.ms", None)], ErrorCode::INVALID_REQUEST),
        (BROKER, "x", &[], ErrorCode::INVALID_REQUEST),
        (BROKER, "", &[("node.id", Some("3"))], ErrorCode::INVALID_REQUEST),
        (3, "x", &[], ErrorCode::INVALID_REQUEST),
    ];
    let resources: Vec<_> = bad.iter().map(|(kind, name, configs, _)| (*kind, *name, *configs)).collect();
    let response = bench.client.call(&all(&resources, false), version);
    let answers: Vec<_> =
        response.responses.iter().map(|r| (r.resource_type, r.resource_name, r.error_code)).collect();
    let expected: Vec<_> = bad.iter().map(|(kind, name, _, code)| (*kind, *name, *code)).collect();
    assert_eq!(answers, expected);
    assert_eq!(topic_setting(bench, name, "segment.ms"), set("3000"));
    assert_eq!(topic_setting(bench, "stamped", "message.timestamp.type"), set("LogAppendTime"));
    assert!(bench.client.call(&all(&[], false), version).responses.is_empty());
}
