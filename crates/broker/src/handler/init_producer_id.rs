//! InitProducerId (22): a new id for an idempotent producer (end of chapter 7). Ids come in blocks from the controller (I12).

use parking_lot::Mutex;
use rohrpost_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use rohrpost_protocol::{Decoder, ErrorCode};

use super::{Context, Mode, Outcome, read, respond};
use crate::controller::{ApiError, ProducerIdBlock};
use crate::server::Broker;

pub(super) fn handle(context: Context<'_>, input: &mut Decoder<'_>, mode: Mode) -> Result<Outcome, String> {
    let Context { broker, version, correlation_id, .. } = context;
    let request: InitProducerIdRequest<'_> = read(input, version)?;
    let result = match mode {
        Mode::Refuse(code) => Err(code),
        Mode::Serve => check(&request).and_then(|()| next_id(broker)),
    };
    respond(&response(result), version, correlation_id)
}

/// The answer to a request that was given an id, or an error.
pub fn response(result: Result<i64, ErrorCode>) -> InitProducerIdResponse {
    match result {
        // always a new id, epoch 0: an id and epoch that were sent are ignored
        Ok(producer_id) => InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() },
        Err(error_code) => InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() },
    }
}

fn next_id(broker: &Broker) -> Result<i64, ErrorCode> {
    broker.producer_ids().next(|| broker.metadata().allocate_producer_ids(broker.node_id(), broker.epoch()))
}

/// Whether a request may have a new id.
///
/// # Errors
/// The answer's code.
pub fn check(request: &InitProducerIdRequest<'_>) -> Result<(), ErrorCode> {
    match request.transactional_id {
        Some("") => return Err(ErrorCode::INVALID_REQUEST),
        // Transactions are not served. This is the code that clients take as final; any other "no coordinator" would be retried
        // until a time-out. Produce answers transactional batches alike (P1).
        Some(_) => return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        None => {}
    }
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(())
}

/// The block of producer ids in use.
pub(crate) struct ProducerIds {
    block: Mutex<ProducerIdBlock>,
}

impl ProducerIds {
    /// I12: stand-alone, the first block is there at start.
    pub(crate) fn new(first: ProducerIdBlock) -> Self {
        Self { block: Mutex::new(first) }
    }

    /// The next id.
    ///
    /// # Errors
    /// COORDINATOR_LOAD_IN_PROGRESS, which clients retry, if the controller gives no new block (I12).
    fn next(&self, allocate: impl FnOnce() -> Result<ProducerIdBlock, ApiError>) -> Result<i64, ErrorCode> {
        let mut block = self.block.lock();
        if block.len <= 0 {
            *block = allocate().map_err(|error| {
                tracing::warn!(%error, "no new producer ids");
                ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
            })?;
        }
        let id = block.first;
        block.first += 1;
        block.len -= 1;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_in_the_next_block_and_wait_for_it() {
        // I12
        let ids = ProducerIds::new(ProducerIdBlock { first: 0, len: 2 });
        let none = || Err(ApiError::new(ErrorCode::KAFKA_STORAGE_ERROR, "no disk"));
        let got: Vec<_> = (0..3).map(|_| ids.next(none)).collect();
        assert_eq!(got, [Ok(0), Ok(1), Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)]);
        assert_eq!(ids.next(|| Ok(ProducerIdBlock { first: 1000, len: 1000 })), Ok(1000));
        assert_eq!(ids.next(none), Ok(1001));
    }

    #[test]
    fn half_of_an_identity_and_transactional_ids_are_refused() {
        let request = |transactional_id, producer_id, producer_epoch| InitProducerIdRequest {
            transactional_id,
            producer_id,
            producer_epoch,
            ..Default::default()
        };
        assert_eq!(check(&request(None, -1, -1)), Ok(()));
        assert_eq!(check(&request(None, 5, 3)), Ok(()));
        assert_eq!(check(&request(None, 5, -1)), Err(ErrorCode::INVALID_REQUEST));
        assert_eq!(check(&request(None, -1, 3)), Err(ErrorCode::INVALID_REQUEST));
        assert_eq!(check(&request(Some(""), -1, -1)), Err(ErrorCode::INVALID_REQUEST));
        assert_eq!(check(&request(Some("t"), -1, -1)), Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED));
    }
}
