//! Length and encoding agree, gaps are counted, and nothing that a version cannot carry is lost in silence.

use proptest::{collection::vec, option, prelude::*};
use rohrpost_protocol::{
    Decoder, EncodeErrorKind, Encoder, ErrorCode, Message, Records, RequestHeader, ResponseHeader, Uuid,
    encode_request, encode_response, messages::*,
};

fn encode<'a, M: Message<'a>>(message: &M, version: i16) -> Encoder {
    let mut out = Encoder::new();
    message.encode(&mut out, version).unwrap_or_else(|e| panic!("version {version}: {e}"));
    assert_eq!(message.encoded_len(version), Ok(out.len()), "{} version {version}", M::NAME);
    out
}

/// What the wire carries once the caller has filled the gaps.
fn filled(frame: &Encoder, mut fill: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut wire = Vec::new();
    let mut done = 0;
    for gap in frame.gaps() {
        wire.extend_from_slice(&frame.bytes()[done..gap.at]);
        let bytes = fill.next().expect("one piece for each gap");
        assert_eq!(bytes.len(), gap.len);
        wire.extend(bytes);
        done = gap.at;
    }
    wire.extend_from_slice(&frame.bytes()[done..]);
    wire
}

type Topics = Vec<(String, [u8; 16], Vec<(i32, Option<Vec<u8>>)>)>;

fn topics() -> impl Strategy<Value = Topics> {
    let batch = option::weighted(0.9, vec(any::<u8>(), 0..300));
    vec(("[a-zäß._-]{0,40}", any::<[u8; 16]>(), vec((any::<i32>(), batch), 0..5)), 0..5)
}

fn request<'a>(topics: &'a Topics, version: i16, elsewhere: bool) -> ProduceRequest<'a> {
    let records = |bytes: &'a Vec<u8>| {
        if elsewhere { Records::Elsewhere { len: bytes.len() } } else { Records::Bytes(bytes) }
    };
    let topic_data = topics.iter().map(|(name, id, partitions)| TopicProduceData {
        name: if version < 13 { name } else { "" },
        topic_id: if version < 13 { Uuid::ZERO } else { Uuid(*id) },
        partition_data: partitions
            .iter()
            .map(|(index, batch)| PartitionProduceData {
                index: *index,
                records: batch.as_ref().map(records),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    ProduceRequest {
        transactional_id: None,
        acks: -1,
        timeout_ms: 1500,
        topic_data: topic_data.collect(),
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_with_gaps_is_the_same_on_the_wire_as_one_without(
        topics in topics(),
        version in 3..=13_i16,
        correlation_id in any::<i32>(),
        client_id in option::of("[a-z]{0,20}"),
    ) {
        let whole = encode_request(&request(&topics, version, false), version, correlation_id, client_id.as_deref());
        let whole = whole.expect("all of it fits");
        prop_assert!(whole.gaps().is_empty());
        let with_gaps = encode_request(&request(&topics, version, true), version, correlation_id, client_id.as_deref());
        let with_gaps = with_gaps.expect("all of it fits");
        let batches = topics.iter().flat_map(|(_, _, partitions)| partitions).filter_map(|(_, batch)| batch.clone());
        let wire = filled(&with_gaps, batches);
        prop_assert_eq!(&wire, whole.bytes());
        prop_assert_eq!(with_gaps.len(), wire.len());
        let size = i32::from_be_bytes(*wire.first_chunk().expect("a size"));
        prop_assert_eq!(size as usize, wire.len() - 4, "the size counts the gaps");

        let mut input = Decoder::new(&wire[4..]);
        let (_, header) = RequestHeader::read(&mut input).expect("our own header");
        prop_assert_eq!(header.correlation_id, correlation_id);
        prop_assert_eq!(header.client_id, client_id.as_deref());
        let decoded = ProduceRequest::decode(&mut input, version);
        prop_assert_eq!(decoded, Ok(request(&topics, version, false)));
        prop_assert_eq!(input.finish(), Ok(()));
    }

    #[test]
    fn a_fetch_response_with_gaps_is_the_same_on_the_wire_as_one_without(
        topics in topics(),
        version in 4..=18_i16,
        tagged in any::<bool>(),
    ) {
        let response = |elsewhere: bool| FetchResponse {
            responses: topics.iter().map(|(name, id, partitions)| FetchableTopicResponse {
                topic: if version < 13 { name } else { "" },
                topic_id: if version < 13 { Uuid::ZERO } else { Uuid(*id) },
                partitions: partitions.iter().map(|(partition_index, batch)| PartitionData {
                    partition_index: *partition_index,
                    records: batch.as_ref().map(|bytes| {
                        if elsewhere { Records::Elsewhere { len: bytes.len() } } else { Records::Bytes(bytes) }
                    }),
                    current_leader: if tagged && version >= 12 {
                        LeaderIdAndEpoch { leader_id: *partition_index, leader_epoch: 5, ..Default::default() }
                    } else {
                        Default::default()
                    },
                    ..Default::default()
                }).collect(),
                ..Default::default()
            }).collect(),
            ..Default::default()
        };
        let whole = encode_response(&response(false), version, 7).expect("all of it fits");
        let with_gaps = encode_response(&response(true), version, 7).expect("all of it fits");
        let batches = topics.iter().flat_map(|(_, _, partitions)| partitions).filter_map(|(_, batch)| batch.clone());
        let wire = filled(&with_gaps, batches);
        prop_assert_eq!(&wire, whole.bytes());

        let mut input = Decoder::new(&wire[4..]);
        ResponseHeader::decode(&mut input, if version < 12 { 0 } else { 1 }).expect("our own header");
        prop_assert_eq!(FetchResponse::decode(&mut input, version), Ok(response(false)));
        prop_assert_eq!(input.finish(), Ok(()));
    }

    #[test]
    fn a_metadata_response_comes_back_as_it_was(
        brokers in vec((any::<i32>(), "[a-z.]{0,30}", any::<i32>(), option::of("[a-z]{0,9}")), 0..5),
        topics in vec((any::<i16>(), option::of("[a-z]{0,30}"), any::<[u8; 16]>(), vec(any::<[i32; 4]>(), 0..6)), 0..6),
        version in 12..=13_i16,
    ) {
        let response = MetadataResponse {
            brokers: brokers.iter().map(|(node_id, host, port, rack)| MetadataResponseBroker {
                node_id: *node_id, host, port: *port, rack: rack.as_deref(), ..Default::default()
            }).collect(),
            topics: topics.iter().map(|(code, name, id, partitions)| MetadataResponseTopic {
                error_code: ErrorCode(*code),
                name: name.as_deref(),
                topic_id: Uuid(*id),
                partitions: partitions.iter().map(|numbers| MetadataResponsePartition {
                    partition_index: numbers[0],
                    leader_id: numbers[1],
                    leader_epoch: numbers[2],
                    replica_nodes: numbers[..].into(),
                    isr_nodes: numbers[..2].into(),
                    offline_replicas: numbers[3..].into(),
                    ..Default::default()
                }).collect(),
                ..Default::default()
            }).collect(),
            ..Default::default()
        };
        let out = encode(&response, version);
        prop_assert_eq!(MetadataResponse::decode(&mut Decoder::new(out.bytes()), version), Ok(response));
    }

    #[test]
    fn unknown_tags_are_skipped_or_written_again(tags in prop::collection::btree_map(any::<u32>(), vec(any::<u8>(), 0..20), 0..6)) {
        let mut bytes = vec![0, 0, 0, 9];
        put_varint(&mut bytes, tags.len() as u32);
        for (tag, value) in &tags {
            put_varint(&mut bytes, *tag);
            put_varint(&mut bytes, value.len() as u32);
            bytes.extend(value);
        }
        let skipped = ResponseHeader::decode(&mut Decoder::new(&bytes), 1).expect("skipped");
        prop_assert!(skipped.unknown_tags.is_empty());
        let kept = ResponseHeader::decode(&mut Decoder::new(&bytes).keep_unknown_tags(true), 1).expect("kept");
        prop_assert_eq!(kept.unknown_tags.iter().map(|(tag, value)| (tag, value.to_vec())).collect::<Vec<_>>(),
            tags.clone().into_iter().collect::<Vec<_>>());
        let again = encode(&kept, 1);
        prop_assert_eq!(again.bytes(), bytes);
        // a version without tagged fields cannot carry them
        prop_assert_eq!(kept.encode(&mut Encoder::new(), 0).is_ok(), tags.is_empty());
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[test]
fn unknown_tags_stand_between_the_known_ones_in_rising_order() {
    // a fetch request of version 12 knows tag 0 (cluster id); 15 knows 0 and 1
    let request = FetchRequest { cluster_id: Some("c"), ..Default::default() };
    let plain = encode(&request, 12).into_parts().0;
    let (section, body) = ([1, 0, 2, 2, b'c'], &plain[..plain.len() - 5]);
    assert_eq!(&plain[body.len()..], section);
    let with_unknown = [body, &[3, 0, 2, 2, b'c', 1, 1, 0xaa, 9, 0]].concat();
    let decoded =
        FetchRequest::decode(&mut Decoder::new(&with_unknown).keep_unknown_tags(true), 12).expect("kept");
    assert_eq!(encode(&decoded, 12).bytes(), with_unknown);
    // the replica's state has tag 1 in version 15: the old bytes must not pass for one
    let error = decoded.encoded_len(15).expect_err("tag 1 is taken");
    assert_eq!(error.kind(), &EncodeErrorKind::TagIsKnown { tag: 1 });
}

#[test]
fn a_value_that_the_version_lacks_is_an_error_unless_kafka_says_otherwise() {
    let fields = |request: &FetchRequest<'_>, version| {
        request.encoded_len(version).map(|_| ()).map_err(|e| e.to_string())
    };
    // the replica id moved into the replica's state in version 15
    let follower = FetchRequest { replica_id: 3, ..Default::default() };
    assert_eq!(fields(&follower, 14), Ok(()));
    let error = fields(&follower, 15).expect_err("the version has no such field");
    assert!(
        error.starts_with("FetchRequest.replica_id: has a value, and version 15 does not have the field"),
        "{error}"
    );
    // the rack is ignorable
    assert_eq!(fields(&FetchRequest { rack_id: "r", ..Default::default() }, 4), Ok(()));
    // tagged fields as well as others
    let leader = LeaderIdAndEpoch { leader_id: 1, leader_epoch: 2, ..Default::default() };
    let partition = PartitionProduceResponse { current_leader: leader, ..Default::default() };
    let topic = TopicProduceResponse { partition_responses: vec![partition], ..Default::default() };
    let response = ProduceResponse { responses: vec![topic], ..Default::default() };
    assert!(response.encoded_len(10).is_ok());
    let error = response.encoded_len(9).expect_err("no leader hint before version 10");
    assert!(error.to_string().starts_with("PartitionProduceResponse.current_leader"), "{error}");
}

#[test]
fn null_is_refused_where_the_version_has_none() {
    let all = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(encode(&all, 1).bytes(), [0xff; 4]);
    let error = all.encoded_len(0).expect_err("version 0 has no null");
    assert_eq!(error.to_string(), "MetadataRequest.topics: is null, which it may not be in version 0");
    let by_id = MetadataRequestTopic { name: None, ..Default::default() };
    let by_id = MetadataRequest { topics: Some(vec![by_id]), ..Default::default() };
    assert!(by_id.encoded_len(9).is_err());
    assert_eq!(encode(&by_id, 10).bytes()[17..19], [0, 0], "zero id, then null");
    // null where version 9 has none
    let error = MetadataRequest::decode(&mut Decoder::new(&[2, 0, 0, 1, 0, 0, 0]), 9).expect_err("null");
    assert_eq!(
        error.to_string(),
        "MetadataRequestTopic.name: is null, which it may not be in this version (after 2 bytes)"
    );
}

#[test]
fn what_is_too_long_for_its_length_is_refused() {
    let long = "x".repeat(40_000);
    for version in [0, 9] {
        let topic = MetadataRequestTopic { name: Some(&long), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let error = request.encoded_len(version).expect_err("longer than 32767");
        assert_eq!(error.kind(), &EncodeErrorKind::TooLong { len: 40_000, max: 32_767 });
    }
    let batch = |len| ProduceRequest {
        topic_data: vec![TopicProduceData {
            partition_data: vec![PartitionProduceData {
                records: Some(Records::Elsewhere { len }),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for len in [i32::MAX as usize, usize::MAX] {
        assert!(encode_request(&batch(len), 12, 1, None).is_err());
    }
    let error =
        encode_request(&batch(i32::MAX as usize - 1), 12, 1, None).expect_err("the frame is above 2 GiB");
    assert!(matches!(error.kind(), EncodeErrorKind::TooLong { .. }), "{error}");
    assert!(encode_request(&batch(i32::MAX as usize - 100), 12, 1, None).is_ok());
}

#[test]
fn an_unknown_version_cannot_be_written() {
    for version in [-1, 14] {
        let error = MetadataRequest::default().encoded_len(version).expect_err("no such version");
        assert_eq!(error.to_string(), format!("MetadataRequest: has no version {version}"));
    }
    // known to the codec, and never negotiated
    assert_eq!(InitProducerIdRequest::VERSIONS.max, 6);
    assert_eq!(InitProducerIdRequest::STABLE_VERSIONS.max, 5);
    let two_phase = InitProducerIdRequest { enable_2pc: true, ..Default::default() };
    assert!(two_phase.encoded_len(6).is_ok());
    assert!(two_phase.encoded_len(5).is_err());
}

#[test]
fn a_nullable_struct_has_a_byte_before_it() {
    let first = DescribeTopicPartitionsRequest::default();
    assert_eq!(encode(&first, 0).bytes(), [1, 0, 0, 0x07, 0xd0, 0xff, 0]);
    let next = DescribeTopicPartitionsRequest {
        cursor: Some(Cursor { topic_name: "t", partition_index: 3, ..Default::default() }),
        ..Default::default()
    };
    let out = encode(&next, 0);
    assert_eq!(out.bytes(), [1, 0, 0, 0x07, 0xd0, 1, 2, b't', 0, 0, 0, 3, 0, 0]);
    assert_eq!(DescribeTopicPartitionsRequest::decode(&mut Decoder::new(out.bytes()), 0), Ok(next));
}
