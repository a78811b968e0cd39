//! What an answer's error means for its batch (RTY-2, chapter 10, IDM-8 to IDM-11, IDM-16). A pure function of what is
//! known; the core carries the verdict out.

use rohrpost_protocol::{ErrorClass, ErrorCode, Written};

use crate::rules::{self, Rule};

/// How often a batch of unknown fate may be refused for its sequence, with nothing before it, until it ends as `Unknown`.
///
/// Its producer id, epoch and sequence must stay (IDM-16), and nothing of ours can close the gap that the broker sees. A few
/// tries reach a new leader, should the one that refused have lost the end of its log.
const RESEQUENCED_MAX: u32 = 3;

/// What is known of a batch when its request ends with an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) code: ErrorCode,
    pub(super) idempotent: bool,
    /// No earlier batch of the partition is unsettled.
    pub(super) is_lowest: bool,
    /// An earlier attempt may have written it.
    pub(super) may_be_written: bool,
    /// How often it was refused for its sequence while it was the lowest.
    pub(super) resequenced: u32,
    /// Where the partition's log begins by this answer; -1 if the broker does not know it.
    pub(super) log_start_offset: i64,
    /// RTY-2: younger than `delivery.timeout.ms`, retries left, and the producer neither closed by force nor failed.
    pub(super) may_retry: bool,
    /// ACC-22: more than one record, in time, and the producer neither closed by force nor failed.
    pub(super) may_split: bool,
}

/// What to do with the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in the log, at a known or unknown offset.
    Acked,
    /// Send it again as it is, after a back-off.
    Retry,
    /// Send it again in a new epoch, since this one cannot go on for the partition (IDM-6).
    RetryInNewEpoch,
    /// Send it again in parts (ACC-22).
    Split,
    /// It fails.
    Fail,
    /// The records that the broker named fail, and the others with them (ERR-3).
    FailRecords,
    /// It fails, and the producer is over.
    Fatal,
}

pub(super) fn verdict(facts: &Facts) -> Verdict {
    let Facts { code, idempotent, is_lowest, may_be_written, resequenced, may_retry, may_split, .. } = *facts;
    let may_be_written = may_be_written && rules::holds(Rule::UnknownKeepsEpoch);
    let retry_or_fail = if may_retry { Verdict::Retry } else { Verdict::Fail };
    match code.class() {
        ErrorClass::OkDuplicate if !rules::holds(Rule::DuplicateIsSuccess) => Verdict::Fail,
        // IDM-10
        ErrorClass::Ok | ErrorClass::OkDuplicate => Verdict::Acked,
        // IDM-9: an answer that does not say where the log begins comes from a broker that has not read it yet. Once is enough to
        // ask; brokers whose answers never say it must not stop the partition for ever (IDM-15).
        ErrorClass::Resequence
            if code == ErrorCode::UNKNOWN_PRODUCER_ID
                && idempotent
                && facts.log_start_offset < 0
                && resequenced == 0 =>
        {
            retry_or_fail
        }
        // IDM-8, IDM-9: whatever retention has taken, a bump repairs it
        ErrorClass::Resequence if idempotent && may_retry => match (is_lowest, may_be_written) {
            // An earlier batch must be settled first.
            (false, _) => Verdict::Retry,
            (true, false) => Verdict::RetryInNewEpoch,
            // IDM-16
            (true, true) if resequenced < RESEQUENCED_MAX => Verdict::Retry,
            (true, true) => Verdict::Fail,
        },
        // IDM-16: the old epoch is closed to a batch that may not leave it.
        ErrorClass::Epoch if idempotent && may_retry && !may_be_written => Verdict::RetryInNewEpoch,
        // ERR-4. A producer without idempotence has nothing to lose: the batch fails alone.
        ErrorClass::Fatal | ErrorClass::Fenced if idempotent => Verdict::Fatal,
        // ACC-22: a single record that is too large fails.
        ErrorClass::Split if may_split => Verdict::Split,
        ErrorClass::FailRecord => Verdict::FailRecords,
        // The classes Retry, RetryMetadata and RetryCoordinator, and whatever else a retry may help.
        _ if code.is_retriable() => retry_or_fail,
        _ => Verdict::Fail,
    }
}

/// CMPL-8: whether this answer alone leaves open that its batch is in the log.
pub(super) fn may_have_written(code: ErrorCode) -> bool {
    match code.written() {
        Written::No => false,
        Written::Yes if !rules::holds(Rule::DuplicateIsSuccess) => false,
        // What no broker should answer to Produce promises nothing.
        Written::Maybe | Written::Yes | Written::NotProduce => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(code: ErrorCode) -> Facts {
        Facts {
            code,
            idempotent: true,
            is_lowest: true,
            may_be_written: false,
            resequenced: 0,
            log_start_offset: 0,
            may_retry: true,
            may_split: true,
        }
    }

    #[test]
    fn retriable_errors_are_retried_while_time_and_retries_last() {
        // RTY-2
        for code in [
            ErrorCode::CORRUPT_MESSAGE,
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::REQUEST_TIMED_OUT,
            ErrorCode::NETWORK_EXCEPTION,
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            ErrorCode::KAFKA_STORAGE_ERROR,
            ErrorCode::UNKNOWN_TOPIC_ID,
            // chapter 10: what should not come is retried all the same, if it is retriable
            ErrorCode::NOT_CONTROLLER,
        ] {
            assert_eq!(verdict(&facts(code)), Verdict::Retry, "{code}");
            assert_eq!(verdict(&Facts { may_retry: false, ..facts(code) }), Verdict::Fail, "{code}");
        }
        for code in (-1..=133).map(ErrorCode) {
            if let ErrorClass::Retry | ErrorClass::RetryMetadata | ErrorClass::RetryCoordinator = code.class()
            {
                assert_eq!(verdict(&facts(code)), Verdict::Retry, "{code}");
            }
        }
    }

    #[test]
    fn a_batch_that_is_too_large_is_split_whatever_retries_are_left() {
        // ACC-22, RTY-2
        let refused = facts(ErrorCode::MESSAGE_TOO_LARGE);
        for may_be_written in [false, true] {
            let refused = Facts { may_retry: false, may_be_written, ..refused };
            assert_eq!(verdict(&refused), Verdict::Split);
            assert_eq!(verdict(&Facts { may_split: false, ..refused }), Verdict::Fail, "a single record");
        }
    }

    #[test]
    fn a_batch_behind_an_unsettled_one_waits_its_turn() {
        // IDM-8
        let behind = Facts { is_lowest: false, ..facts(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER) };
        assert_eq!(verdict(&behind), Verdict::Retry);
        assert_eq!(verdict(&facts(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)), Verdict::RetryInNewEpoch);
        // RTY-2, and without idempotence there is no sequence to set right
        let out_of_order = facts(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(verdict(&Facts { may_retry: false, ..out_of_order }), Verdict::Fail);
        assert_eq!(verdict(&Facts { idempotent: false, ..out_of_order }), Verdict::Fail);
        // IDM-9: where the log begins says something about a producer that is not known, and about nothing else
        assert_eq!(verdict(&Facts { log_start_offset: -1, ..out_of_order }), Verdict::RetryInNewEpoch);
    }

    #[test]
    fn a_broker_that_has_forgotten_the_producer_is_asked_again_only_while_it_cannot_say_why() {
        // IDM-9, IDM-15
        let forgotten = facts(ErrorCode::UNKNOWN_PRODUCER_ID);
        for log_start_offset in [0, 7, i64::MAX] {
            assert_eq!(verdict(&Facts { log_start_offset, ..forgotten }), Verdict::RetryInNewEpoch);
        }
        let silent = Facts { log_start_offset: -1, ..forgotten };
        assert_eq!(verdict(&silent), Verdict::Retry);
        assert_eq!(verdict(&Facts { resequenced: 1, ..silent }), Verdict::RetryInNewEpoch);
        assert_eq!(verdict(&Facts { may_retry: false, ..silent }), Verdict::Fail);
        assert_eq!(verdict(&Facts { idempotent: false, ..silent }), Verdict::Fail);
        let behind = Facts { is_lowest: false, ..forgotten };
        assert_eq!(verdict(&behind), Verdict::Retry);
    }

    #[test]
    fn a_batch_of_unknown_fate_never_changes_its_epoch() {
        // IDM-16
        let code = ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER;
        for resequenced in 0..10 {
            let unknown = Facts { may_be_written: true, resequenced, ..facts(code) };
            let expected = if resequenced < RESEQUENCED_MAX { Verdict::Retry } else { Verdict::Fail };
            assert_eq!(verdict(&unknown), expected);
        }
        let unknown = Facts { may_be_written: true, ..facts(ErrorCode::INVALID_PRODUCER_EPOCH) };
        assert_eq!(verdict(&unknown), Verdict::Fail);
        let closed = facts(ErrorCode::INVALID_PRODUCER_EPOCH);
        assert_eq!(verdict(&closed), Verdict::RetryInNewEpoch);
        assert_eq!(verdict(&Facts { may_retry: false, ..closed }), Verdict::Fail);
        assert_eq!(verdict(&Facts { idempotent: false, ..closed }), Verdict::Fail);
    }

    #[test]
    fn what_an_answer_says_of_the_log() {
        // CMPL-8, IDM-10
        assert!(may_have_written(ErrorCode::DUPLICATE_SEQUENCE_NUMBER), "it is there");
        assert!(may_have_written(ErrorCode::REQUEST_TIMED_OUT));
        assert!(!may_have_written(ErrorCode::INVALID_RECORD));
    }

    #[test]
    fn only_authorization_fencing_and_versions_end_an_idempotent_producer() {
        // IDM-15, ERR-4
        for code in (-1..=133).map(ErrorCode) {
            let fatal = verdict(&facts(code)) == Verdict::Fatal;
            let expected = matches!(code.class(), ErrorClass::Fatal | ErrorClass::Fenced);
            assert_eq!(fatal, expected, "{code}");
        }
        let alone = Facts { idempotent: false, ..facts(ErrorCode::UNSUPPORTED_VERSION) };
        assert_eq!(verdict(&alone), Verdict::Fail);
    }

    #[test]
    fn an_unknown_code_is_an_unknown_server_error() {
        // ERR-5
        let code = ErrorCode(3000);
        assert_eq!(verdict(&facts(code)), verdict(&facts(ErrorCode::UNKNOWN_SERVER_ERROR)));
        assert!(may_have_written(code));
    }
}
