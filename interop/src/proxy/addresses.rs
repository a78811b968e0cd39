//! Answers that name brokers: their addresses become the proxy's.

use std::io;

use rohrpost_protocol::frame::SIZE_LEN;
use rohrpost_protocol::messages::{
    DescribeClusterResponse, FetchResponse, FindCoordinatorResponse, MetadataResponse, ProduceResponse,
};
use rohrpost_protocol::{ApiKey, Decoder, Message, Response, ResponseHeader, encode_response};

/// An answer's frame with the proxy's addresses in it. `port` gives the proxy's port for a broker's, if it has one; an address
/// that it does not have stays.
pub fn with_addresses(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    frame: Vec<u8>,
    port: impl Fn(u16) -> Option<u16>,
) -> io::Result<Vec<u8>> {
    let change = |host: &mut &str, at: &mut i32| {
        if let Some(ours) = u16::try_from(*at).ok().and_then(&port) {
            *host = "127.0.0.1";
            *at = i32::from(ours);
        }
    };
    match api {
        ApiKey::Metadata => rewrite(version, correlation_id, &frame, |answer: &mut MetadataResponse<'_>| {
            for broker in &mut answer.brokers {
                change(&mut broker.host, &mut broker.port);
            }
        }),
        ApiKey::FindCoordinator => {
            rewrite(version, correlation_id, &frame, |answer: &mut FindCoordinatorResponse<'_>| {
                change(&mut answer.host, &mut answer.port);
                for coordinator in &mut answer.coordinators {
                    change(&mut coordinator.host, &mut coordinator.port);
                }
            })
        }
        ApiKey::DescribeCluster => {
            rewrite(version, correlation_id, &frame, |answer: &mut DescribeClusterResponse<'_>| {
                for broker in &mut answer.brokers {
                    change(&mut broker.host, &mut broker.port);
                }
            })
        }
        ApiKey::Produce => rewrite(version, correlation_id, &frame, |answer: &mut ProduceResponse<'_>| {
            for node in &mut answer.node_endpoints {
                change(&mut node.host, &mut node.port);
            }
        }),
        // only from version 16 on; before, the records need not be looked at
        ApiKey::Fetch if version >= 16 => {
            rewrite(version, correlation_id, &frame, |answer: &mut FetchResponse<'_>| {
                for node in &mut answer.node_endpoints {
                    change(&mut node.host, &mut node.port);
                }
            })
        }
        _ => Ok(frame),
    }
}

fn rewrite<'f, R: Response<'f>>(
    version: i16,
    correlation_id: i32,
    frame: &'f [u8],
    change: impl FnOnce(&mut R),
) -> io::Result<Vec<u8>> {
    let invalid = |error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} {version}: {error}", R::NAME))
    };
    let mut input = Decoder::new(frame.get(SIZE_LEN..).unwrap_or_default()).keep_unknown_tags(true);
    ResponseHeader::decode(&mut input, R::API_KEY.response_header_version(version))
        .map_err(|error| invalid(&error))?;
    let mut answer = R::decode(&mut input, version).map_err(|error| invalid(&error))?;
    change(&mut answer);
    let (bytes, _no_gaps) =
        encode_response(&answer, version, correlation_id).map_err(|error| invalid(&error))?.into_parts();
    Ok(bytes)
}
