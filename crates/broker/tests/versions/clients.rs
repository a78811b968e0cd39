//! InitProducerId and ApiVersions.

use rohrpost_protocol::messages::{ApiVersionsRequest, InitProducerIdRequest};
use rohrpost_protocol::{ApiKey, ErrorCode};

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
