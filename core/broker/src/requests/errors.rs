//! From our errors to Kafka's codes: one place, exhaustive.

use buslane_partition::{Refusal, SequenceError};
use buslane_wire::ErrorCode;

use crate::partitions::{AppendRefused, NotReadable, ReadRefused};

/// The code of a refused append.
pub fn of_append(refused: &AppendRefused) -> ErrorCode {
    match refused {
        AppendRefused::Owner(refusal) => match refusal {
            Refusal::NotOwner => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            Refusal::NotEnoughReplicas { .. } => ErrorCode::NOT_ENOUGH_REPLICAS,
            Refusal::NoStore => ErrorCode::KAFKA_STORAGE_ERROR,
            Refusal::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::INVALID_PRODUCER_EPOCH,
            Refusal::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        },
        AppendRefused::Gone => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        AppendRefused::Storage(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        AppendRefused::Busy => ErrorCode::NOT_ENOUGH_REPLICAS,
    }
}

/// The code of a partition that cannot be read now.
pub fn of_not_readable(error: &NotReadable) -> ErrorCode {
    match error {
        NotReadable::NotOwner => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        NotReadable::Storage(_) => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}

/// The code of a refused read.
pub fn of_read(refused: &ReadRefused) -> ErrorCode {
    match refused {
        ReadRefused::NotReadable(error) => of_not_readable(error),
        ReadRefused::OutOfRange(_) => ErrorCode::OFFSET_OUT_OF_RANGE,
    }
}

/// Judges the leader epoch that a client believes in (KIP-320): -1 is not judged.
pub fn of_epoch(claimed: i32, current: i32) -> ErrorCode {
    match claimed {
        -1 => ErrorCode::NONE,
        c if c < current => ErrorCode::FENCED_LEADER_EPOCH,
        c if c > current => ErrorCode::UNKNOWN_LEADER_EPOCH,
        _ => ErrorCode::NONE,
    }
}
