//! What a broker's answer means for a batch of the drain.

use buslane_client::{Appended, PartitionRefused};
use buslane_wire::ErrorCode;

use crate::drain::Outcome;

/// What became of a batch, and where it is if the broker said so.
pub fn outcome(result: &Result<Appended, PartitionRefused>) -> (Outcome, Option<i64>) {
    match result {
        Ok(appended) => (Outcome::Appended, Some(appended.base_offset).filter(|offset| *offset >= 0)),
        Err(refused) => (refusal(refused.code), None),
    }
}

/// Codes of `ProduceResponse`, as Apache Kafka's `Errors` describes them.
fn refusal(code: ErrorCode) -> Outcome {
    match code {
        // It has it, further back than it remembers offsets.
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Outcome::Appended,
        // A higher epoch was here: only this agent knows the id, so it was this agent.
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
        | ErrorCode::UNKNOWN_PRODUCER_ID
        | ErrorCode::INVALID_PRODUCER_EPOCH
        | ErrorCode::PRODUCER_FENCED => Outcome::OutOfOrder,
        // Appended at the leader, perhaps not at the others, perhaps no more.
        ErrorCode::REQUEST_TIMED_OUT
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::KAFKA_STORAGE_ERROR
        | ErrorCode::NETWORK_EXCEPTION
        | ErrorCode::UNKNOWN_SERVER_ERROR => Outcome::InDoubt,
        // No broker takes these bytes, now or later.
        ErrorCode::MESSAGE_TOO_LARGE
        | ErrorCode::RECORD_LIST_TOO_LARGE
        | ErrorCode::INVALID_RECORD
        | ErrorCode::INVALID_TIMESTAMP
        | ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        | ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT => Outcome::Parked,
        // Somebody can change it: a right that is missing, a topic that is not there, a leader that is elsewhere.
        _ => Outcome::NotAppended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_dropped_that_a_person_can_mend() {
        for code in [
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::NOT_ENOUGH_REPLICAS,
            ErrorCode::CORRUPT_MESSAGE,
        ] {
            assert_eq!(refusal(code), Outcome::NotAppended, "{code}");
        }
        assert_eq!(refusal(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND), Outcome::InDoubt);
    }

    #[test]
    fn an_offset_is_told_only_where_the_broker_told_it() {
        let at = |base_offset| Ok(Appended { base_offset, log_append_time_ms: -1, log_start_offset: 0 });
        assert_eq!(outcome(&at(7)), (Outcome::Appended, Some(7)));
        assert_eq!(outcome(&at(-1)), (Outcome::Appended, None));
    }
}
