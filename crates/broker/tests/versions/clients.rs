//! InitProducerId and ApiVersions.

use std::io::Read;

use rohrpost_protocol::messages::{
    ApiVersionsRequest, InitProducerIdRequest, MetadataRequest, MetadataResponse,
};
use rohrpost_protocol::{ApiKey, Decoder, ErrorCode, Message, encode_request};

use crate::bench::*;

/// I12
pub(crate) fn init_producer_id_answers(bench: &mut Bench, version: i16) {
    let mut ask = |transactional_id, producer_id, producer_epoch| {
        let request = InitProducerIdRequest {
            transactional_id,
            transaction_timeout_ms: 1000,
            producer_id,
            producer_epoch,
            ..Default::default()
        };
        let response = bench.client.call(&request, version);
        (response.error_code, response.producer_id, response.producer_epoch)
    };
    let (error, first, epoch) = ask(None, -1, -1);
    assert_eq!((error, epoch), (ErrorCode::NONE, 0));
    assert!(first >= 0);
    assert_eq!(ask(None, -1, -1), (ErrorCode::NONE, first + 1, 0));
    let refused = |code| (code, -1, -1);
    assert_eq!(ask(Some("tx"), -1, -1), refused(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    assert_eq!(ask(Some(""), -1, -1), refused(ErrorCode::INVALID_REQUEST));
    if version >= 3 {
        assert_eq!(ask(None, first, 0), (ErrorCode::NONE, first + 2, 0));
        assert_eq!(ask(None, first, -1), refused(ErrorCode::INVALID_REQUEST));
        assert_eq!(ask(None, -1, 0), refused(ErrorCode::INVALID_REQUEST));
    }
}

/// G4, G5, G6
pub(crate) fn api_versions_answers(bench: &mut Bench, version: i16) {
    let expected = bench.advertised();
    let mut ask = |client_software_name| {
        let client_software_version = "1.0";
        let request =
            ApiVersionsRequest { client_software_name, client_software_version, ..Default::default() };
        let response = bench.client.call(&request, version);
        let apis: Vec<_> = response
            .api_keys
            .iter()
            .map(|api| (ApiKey::from_i16(api.api_key).unwrap(), api.min_version, api.max_version))
            .collect();
        let supported: Vec<_> = response
            .supported_features
            .iter()
            .map(|f| (f.name.to_owned(), f.min_version, f.max_version))
            .collect();
        let finalized: Vec<_> = response
            .finalized_features
            .iter()
            .map(|f| (f.name.to_owned(), f.min_version_level, f.max_version_level))
            .collect();
        (response.error_code, apis, supported, finalized, response.finalized_features_epoch)
    };
    let (error, apis, supported, finalized, features_epoch) = ask("test-1.0");
    assert_eq!((error, apis), (ErrorCode::NONE, expected));
    // one feature, and its level is in force; a client that sees no transaction.version keeps to the older protocol
    assert_eq!(
        supported.iter().map(|(name, ..)| name).collect::<Vec<_>>(),
        if version >= 3 { vec!["metadata.version"] } else { vec![] }
    );
    assert_eq!(supported, finalized);
    assert!(finalized.iter().all(|(_, min, max)| min == max && *min >= 7));
    assert_eq!(features_epoch >= 0, version >= 3);
    let (error, apis, supported, ..) = ask("not a name");
    let refused = version >= 3;
    assert_eq!(error, if refused { ErrorCode::INVALID_REQUEST } else { ErrorCode::NONE });
    assert_eq!((apis.is_empty(), supported.is_empty()), (refused, true));
    // the epoch is that of the metadata
    bench.cluster.create_topic(&format!("later{version}"), 1, 1).unwrap();
    let request =
        ApiVersionsRequest { client_software_name: "a", client_software_version: "1", ..Default::default() };
    let later = bench.client.call(&request, version).finalized_features_epoch;
    assert_eq!(later > features_epoch, version >= 3);
}

/// The rows of the reference's table that this broker is to serve on its client listeners: API key and versions.
fn reference() -> Vec<(ApiKey, i16, i16)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/apis.tsv");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    let cells = rows.map(|line| line.split('\t').collect::<Vec<_>>());
    let served = cells.filter(|cells| cells[4].contains('B') && cells[5] == "S1");
    let row = |cells: Vec<&str>| {
        let (min, max) = cells[2].split_once('-').unwrap();
        let key = ApiKey::from_i16(cells[0].parse().unwrap()).unwrap();
        // G5: the low end of Produce is listed for the sake of old librdkafka
        let min = if key == ApiKey::Produce { 0 } else { min.parse().unwrap() };
        (key, min, max.parse().unwrap())
    };
    served.map(row).collect()
}

#[test]
fn clients_find_the_versions_that_they_look_for() {
    // V1, V2, V3: what clients switch by, and the low ends that old ones use, are in the reference's table
    let advertised = Bench::fresh().advertised();
    for (key, min, max) in &advertised {
        assert!(reference().contains(&(*key, *min, *max)), "{} {min}-{max}", key.name());
    }
    let missing: Vec<_> = reference()
        .into_iter()
        .map(|(key, ..)| key)
        .filter(|key| !advertised.iter().any(|a| a.0 == *key))
        .collect();
    // it moves replicas between brokers, and there is one
    assert_eq!(missing, [ApiKey::AlterPartitionReassignments]);
}

#[test]
fn tagged_fields_that_nobody_knows_are_skipped() {
    // V5
    let mut bench = Bench::fresh();
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let encoded = encode_request(&request, 12, 9, Some("test")).unwrap();
    let body = &encoded.bytes()[4..];
    // the last byte says that no tagged field follows; now there is one, number 99 of three bytes
    let (count, start) = body.split_last().unwrap();
    assert_eq!(*count, 0);
    let tagged = [start, &[1, 99, 3, 7, 7, 7]].concat();
    bench.client.send_raw(&tagged);
    let mut size = [0; 4];
    bench.client.stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(size) as usize];
    bench.client.stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..4], 9i32.to_be_bytes());
    let response = MetadataResponse::decode(&mut Decoder::new(&answer[5..]), 12).unwrap();
    assert_eq!((response.brokers.len(), response.topics.len()), (1, 0));
}
