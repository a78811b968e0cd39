//! DescribeCluster (60): the brokers, as far as they can be reached through the listener of the request (M7, M8).

use rohrpost_protocol::messages::describe_cluster::DescribeClusterBroker;
use rohrpost_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{CLUSTER_OPERATIONS, Context, Mode, Outcome, read, respond};

/// The endpoint types: brokers, or the controllers behind them.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, listener, .. } = context;
    let request: DescribeClusterRequest = read(input, version)?;
    let message;
    let refusal = match (mode, request.endpoint_type) {
        (Mode::Refuse(code), _) => Some((code, code.message())),
        (Mode::Serve, BROKERS) => None,
        (Mode::Serve, CONTROLLERS) => Some((
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        )),
        (Mode::Serve, other) => {
            message = format!("Unsupported endpoint type {other}");
            Some((ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, message.as_str()))
        }
    };
    if let Some((error_code, message)) = refusal {
        let response =
            DescribeClusterResponse { error_code, error_message: Some(message), ..Default::default() };
        return respond(&response, version, correlation_id);
    }
    let image = broker.metadata().image();
    let brokers = image.brokers.values().filter(|b| !b.fenced || request.include_fenced_brokers);
    let brokers = brokers.filter_map(|b| {
        // M8
        b.end_point(listener).map(|endpoint| DescribeClusterBroker {
            broker_id: b.id,
            host: &endpoint.host,
            port: i32::from(endpoint.port),
            rack: b.rack.as_deref(),
            is_fenced: b.fenced,
            ..Default::default()
        })
    });
    let response = DescribeClusterResponse {
        cluster_id: &image.cluster_id,
        controller_id: broker.node_id(), // M7: some live broker
        brokers: brokers.collect(),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        },
        ..Default::default()
    };
    respond(&response, version, correlation_id)
}
