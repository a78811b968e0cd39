//! The same messages through a codec that others wrote: the `kafka-protocol` crate.
//!
//! Only messages that our codec has accepted are shown to it: on hostile input it can abort the process.

mod common;

use bytes::BytesMut;
use common::body_vectors;
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable, Request as TheirRequest},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use rohrpost_protocol::{ApiKey, Kind, Request, for_each_api, messages, reencode_body};

#[allow(elided_lifetimes_in_paths)] // whether a message borrows makes no difference here
/// What the other codec makes of a body when it decodes and encodes it. `None`: it does not have the version.
fn theirs_again(api: ApiKey, kind: Kind, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    fn again<M: Decodable + Encodable + kafka_protocol::protocol::Message>(
        version: i16,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let versions = M::VERSIONS;
        if version < versions.min || version > versions.max {
            return None;
        }
        let mut input = bytes::Bytes::copy_from_slice(body);
        let message = M::decode(&mut input, version).expect("the other codec reads what ours has written");
        assert!(input.is_empty(), "the other codec left {} bytes", input.len());
        let mut out = BytesMut::new();
        message.encode(&mut out, version).expect("the other codec writes what it has read");
        Some(out.to_vec())
    }
    macro_rules! by_api {
        ($($module:ident: $request:ident,)*) => {
            match kind {
                $(Kind::Request if api == messages::$request::API_KEY => again::<theirs::$request>(version, body),
                Kind::Response if api == messages::$request::API_KEY =>
                    again::<<theirs::$request as TheirRequest>::Response>(version, body),)*
                _ => panic!("{api} is not in the list"),
            }
        };
    }
    for_each_api!(by_api)
}

#[test]
fn both_codecs_write_the_same() {
    let mut compared = 0;
    for vector in body_vectors() {
        let bytes = vector.hex("hex");
        if let Some(theirs) = theirs_again(vector.api, vector.kind, vector.version, &bytes) {
            let ours =
                reencode_body(vector.api as i16, vector.version, vector.kind, &bytes).expect(&vector.id);
            assert_eq!(ours, theirs, "{}", vector.id);
            compared += 1;
        }
    }
    assert!(compared > 150, "only {compared} bodies were compared");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_codecs_write_the_same_of_messages_with_other_values(
        which in any::<Index>(),
        edits in vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        thread_local!(static BODIES: Vec<(ApiKey, Kind, i16, Vec<u8>)> =
            body_vectors().map(|v| (v.api, v.kind, v.version, v.hex("hex"))).collect());
        BODIES.with(|bodies| {
            let (api, kind, version, bytes) = which.get(bodies);
            let mut bytes = bytes.clone();
            for (at, byte) in &edits {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            let Ok(ours) = reencode_body(*api as i16, *version, *kind, &bytes) else { return };
            if let Some(theirs) = theirs_again(*api, *kind, *version, &ours) {
                assert_eq!(ours, theirs, "{api} {kind:?} version {version}");
            }
        });
    }
}
