//! FindCoordinator (10): who coordinates a group or a transactional id. Nobody does yet, and that is the answer: clients that
//! need groups or transactions are told so by an error that they show, instead of a request that closes their connection.

use rohrpost_protocol::messages::find_coordinator::Coordinator;
use rohrpost_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};

/// From this version on several keys are asked for at once.
const KEYS_SINCE: i16 = 4;
/// From this version on there are share groups.
const SHARE_SINCE: i16 = 6;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { version, correlation_id, .. } = context;
    let request: FindCoordinatorRequest<'_> = read(input, version)?;
    let message;
    let (error_code, message) = match (mode, request.key_type) {
        (Mode::Refuse(code), _) => (code, code.message()),
        (Mode::Serve, 0) => (
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            "This broker does not serve consumer groups yet; assign partitions by hand.",
        ),
        (Mode::Serve, 1) => {
            (ErrorCode::COORDINATOR_NOT_AVAILABLE, "This broker does not serve transactions yet.")
        }
        (Mode::Serve, 2) if version >= SHARE_SINCE => {
            (ErrorCode::COORDINATOR_NOT_AVAILABLE, "This broker does not serve share groups.")
        }
        (Mode::Serve, other) => {
            message = format!("The coordinator key type {other} does not exist in version {version}.");
            (ErrorCode::INVALID_REQUEST, message.as_str())
        }
    };
    let error_message = Some(message);
    let response = if version < KEYS_SINCE {
        FindCoordinatorResponse { error_code, error_message, node_id: -1, port: -1, ..Default::default() }
    } else {
        let entry =
            |key| Coordinator { key, node_id: -1, port: -1, error_code, error_message, ..Default::default() };
        let coordinators = request.coordinator_keys.iter().copied().map(entry).collect();
        FindCoordinatorResponse { coordinators, ..Default::default() }
    };
    respond(&response, version, correlation_id)
}
