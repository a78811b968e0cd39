//! What is answered when the disk has failed.

use rohrpost_log::{Fault, MemoryStorage};
use rohrpost_protocol::messages::CreateTopicsRequest;
use rohrpost_protocol::{ApiKey, ErrorCode, Uuid};
use rohrpost_record::Stamp;

use crate::bench::*;
use crate::common::*;
use crate::list_offsets::list_offsets;
use crate::metadata::{metadata, named};
use crate::produce::{produce, put};
use crate::topics::{delete, new_topic};

#[test]
fn a_broken_disk_is_told_in_every_version() {
    // D30, F12, P12
    let storage = MemoryStorage::new();
    let mut bench = Bench::restarted(&storage);
    storage.inject(Fault::DiskFull(0));
    let code = ErrorCode::KAFKA_STORAGE_ERROR;
    let id = bench.id("t");
    for (api, min, max) in bench.advertised() {
        let min = if api == ApiKey::Produce { 3 } else { min };
        for version in min..=max {
            let _during = During(format!("{} {version}", api.name()));
            match api {
                ApiKey::Produce => {
                    let records = || Some(rich(NOW, Stamp::NONE));
                    produce(
                        &mut bench,
                        version,
                        -1,
                        &[put("t", 1, records(), code), put("t", 0, records(), code)],
                    );
                }
                ApiKey::Fetch => {
                    let mut request = fetch_request("t", 0, 0, i32::MAX, 1);
                    request.topics[0].topic_id = id;
                    let response = bench.client.call(&request, version);
                    let error = response.responses[0].partitions[0].error_code;
                    assert_eq!(error, if version >= 6 { code } else { ErrorCode::NOT_LEADER_OR_FOLLOWER }); // F12
                }
                ApiKey::ListOffsets => {
                    let questions = [("t", 1, -1, -1), ("t", 0, -1, NOW), ("keyed", 0, -1, -2)];
                    let found = list_offsets(&mut bench, version, 0, &questions);
                    assert_eq!(found, [(code, -1, -1, false); 3]);
                }
                ApiKey::CreateTopics => {
                    let topics = vec![new_topic("new", 1, 1), new_topic("t", 1, 1)];
                    let request = CreateTopicsRequest { topics, ..Default::default() };
                    let response = bench.client.call(&request, version);
                    let answers: Vec<_> = response.topics.iter().map(|t| (t.name, t.error_code)).collect();
                    assert_eq!(answers, [("new", code), ("t", code)]);
                }
                ApiKey::DeleteTopics => {
                    let request = delete(&[(Some("t"), Uuid::ZERO), (Some("nowhere"), Uuid::ZERO)], version);
                    let response = bench.client.call(&request, version);
                    let answers: Vec<_> = response.responses.iter().map(|t| (t.name, t.error_code)).collect();
                    assert_eq!(answers, [(Some("t"), code), (Some("nowhere"), code)]);
                }
                // what is in memory is still told
                ApiKey::Metadata => {
                    let request = metadata(Some(vec![named("t"), named("nowhere")]), version);
                    assert_eq!(bench.client.call(&request, version).topics.len(), 2);
                }
                _ => {}
            }
            assert!(!bench.advertised().is_empty());
        }
    }
}
