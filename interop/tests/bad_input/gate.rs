//! The gate (chapter 3): frames, headers, versions and bodies that are not what they should be.

use rohrpost_interop::duel::{Step, frame_of};
use rohrpost_protocol::ApiKey;
use rohrpost_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
};

use crate::cases::{Cases, keep};

const API: &str = "gate";

pub(crate) fn add(cases: &mut Cases) {
    frames(cases);
    versions(cases);
    bodies(cases);
    client_software(cases);
}

/// N8, G1: sizes and headers.
fn frames(cases: &mut Cases) {
    // (input, the version that its header names, frame)
    let rows: [(&str, i16, Vec<u8>); 9] = [
        ("a frame of size 0", 8, vec![0, 0, 0, 0]),
        ("a frame of size -1", 8, vec![0xff; 4]),
        ("a frame above socket.request.max.bytes", 8, 104_857_601_i32.to_be_bytes().to_vec()),
        ("a frame of 1 byte", 8, vec![0, 0, 0, 1, 0]),
        ("a header without a correlation id", 9, vec![0, 0, 0, 4, 0, 3, 0, 9]),
        ("a client id longer than the frame", 8, header(3, 8, &100_i16.to_be_bytes())),
        ("a client id of length -2", 8, header(3, 8, &(-2_i16).to_be_bytes())),
        ("a client id that is not UTF-8", 1, header(3, 1, &[0, 2, 0xff, 0xfe, 0, 0, 0, 0])),
        ("header tags that lie", 9, header(3, 9, &[0, 0, 1, 0, 100])),
    ];
    for (input, version, bytes) in rows {
        let bytes = keep(bytes);
        cases.add(API, input, -1, vec![Step::raw(3, version, move |_| bytes.to_vec())]);
    }
    // G7: as good as empty. All topics would be another answer on each side: none
    let null_client = Step::raw(3, 1, |id| {
        let mut bytes = vec![0, 3, 0, 1];
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
        sized(&bytes)
    });
    cases.add(API, "a null client id", -1, vec![null_client]);
}

/// G1: keys and versions that are not served; G3 for ApiVersions.
fn versions(cases: &mut Cases) {
    let unknown = [(-1, 0), (90, 0), (999, 0), (i16::MAX, 0)];
    for (key, version) in unknown {
        let frame = keep(header(key, version, &[0, 0, 0, 0, 0, 0]));
        cases.add(API, &format!("API key {key}"), -1, vec![Step::raw(key, version, move |_| frame.to_vec())]);
    }
    // SASL on a listener without it, requests among brokers, requests that controllers answer
    for (key, version) in
        [(17, 1), (36, 2), (4, 0), (5, 0), (6, 0), (7, 0), (52, 0), (53, 0), (59, 0), (63, 0)]
    {
        let frame = keep(header(key, version, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        let input = format!("API key {key} version {version}");
        cases.add(API, &input, -1, vec![Step::raw(key, version, move |_| frame.to_vec())]);
    }
    for api in [
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::ApiVersions,
        ApiKey::CreateTopics,
        ApiKey::DeleteTopics,
        ApiKey::InitProducerId,
        ApiKey::FindCoordinator,
        ApiKey::OffsetForLeaderEpoch,
        ApiKey::DescribeConfigs,
        ApiKey::IncrementalAlterConfigs,
        ApiKey::CreatePartitions,
        ApiKey::DeleteRecords,
        ApiKey::DescribeCluster,
        ApiKey::DescribeTopicPartitions,
    ] {
        let versions = api.versions();
        for version in [-1, versions.min - 1, versions.max + 1, i16::MAX] {
            if version < 0 && version != -1 {
                continue;
            }
            let key = api as i16;
            let step = Step::raw(key, version, move |id| {
                let mut bytes = key.to_be_bytes().to_vec();
                bytes.extend_from_slice(&version.to_be_bytes());
                bytes.extend_from_slice(&id.to_be_bytes());
                bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                sized(&bytes)
            });
            cases.add(API, &format!("{} out of range", api.name()), version, vec![step]);
        }
    }
}

/// G2: bodies that end early close the connection; what follows a body is ignored.
fn bodies(cases: &mut Cases) {
    let mut add = |name: &str, version: i16, key: i16, frame: fn(i32) -> Vec<u8>| {
        for cut in [1, 2] {
            let step = Step::raw(key, version, move |id| {
                let frame = frame(id);
                sized(&frame[4..frame.len() - cut])
            });
            cases.add(API, &format!("a body of {name} that lacks {cut}"), version, vec![step]);
        }
        let step = Step::raw(key, version, move |id| sized(&[&frame(id)[4..], &[1, 2, 3]].concat()));
        cases.add(API, &format!("a body of {name} and 3 bytes more"), version, vec![step]);
    };
    add("Fetch", 11, 1, |id| frame_of(&FetchRequest::default(), 11, id));
    add("Fetch", 12, 1, |id| frame_of(&FetchRequest { session_epoch: -1, ..Default::default() }, 12, id));
    add("ListOffsets", 5, 2, |id| {
        frame_of(&ListOffsetsRequest { replica_id: -1, ..Default::default() }, 5, id)
    });
    add("ListOffsets", 7, 2, |id| {
        frame_of(&ListOffsetsRequest { replica_id: -1, ..Default::default() }, 7, id)
    });
    add("Metadata", 8, 3, |id| {
        frame_of(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() }, 8, id)
    });
    add("Metadata", 12, 3, |id| {
        frame_of(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() }, 12, id)
    });
    add("CreateTopics", 4, 19, |id| frame_of(&CreateTopicsRequest::default(), 4, id));
    add("CreateTopics", 7, 19, |id| frame_of(&CreateTopicsRequest::default(), 7, id));
    add("DeleteTopics", 6, 20, |id| frame_of(&DeleteTopicsRequest::default(), 6, id));
    add("InitProducerId", 4, 22, |id| frame_of(&InitProducerIdRequest::default(), 4, id));
    let key_type = |id| frame_of(&FindCoordinatorRequest { key_type: 9, ..Default::default() }, 4, id);
    add("FindCoordinator", 4, 10, key_type);
}

/// G4: names and versions of client software.
fn client_software(cases: &mut Cases) {
    let rows = [
        ("", "1"),
        ("a", ""),
        ("-a", "1"),
        ("a-", "1"),
        ("a b", "1"),
        ("a", "1 "),
        ("\u{e9}", "1"),
        ("a", "1.0_2"),
    ];
    for (name, software_version) in rows {
        for version in [3, 4] {
            let step = Step::of(version, move || ApiVersionsRequest {
                client_software_name: name,
                client_software_version: software_version,
                ..Default::default()
            });
            let input = format!("ApiVersions of {name:?} version {software_version:?}");
            cases.add(API, &input, version, vec![step]);
        }
    }
}

/// A frame of a header's first fields and these bytes.
fn header(key: i16, version: i16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = key.to_be_bytes().to_vec();
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&1_i32.to_be_bytes());
    bytes.extend_from_slice(rest);
    sized(&bytes)
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as i32).to_be_bytes(), bytes].concat()
}
