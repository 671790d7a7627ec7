//! What is checked of a produced batch before its partition sees it.
//!
//! `relaxed` (default): exactly one batch, header, CRC, sizes, counts, timestamps by base and maximum, producer fields, no
//! control batch, no transaction. It does not look at the records: a batch whose records contradict its header, or do
//! not decompress, is stored as it came. `strict` walks every record within bounds.

use buslane_wire::ErrorCode;
use buslane_wire::batch::{BatchError, BatchHeader, Compression, verify_crc};

use crate::topic_config::{TimestampType, TopicConfig};

/// First Produce version that may carry zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// Why a batch is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// Kafka's code.
    pub code: ErrorCode,
    /// For the client.
    pub message: String,
    /// Records that are wrong: index in the batch, and why.
    pub records: Vec<(i32, String)>,
}

fn invalid(code: ErrorCode, message: impl Into<String>) -> Invalid {
    Invalid { code, message: message.into(), records: Vec::new() }
}

fn of_batch_error(error: BatchError) -> Invalid {
    let code = match error {
        BatchError::Magic(_) => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
        _ => ErrorCode::CORRUPT_MESSAGE,
    };
    invalid(code, error.to_string())
}

/// Checks the records field of one partition in a produce request of `version`.
pub fn batch(
    records: &[u8],
    version: i16,
    config: &TopicConfig,
    now_ms: i64,
) -> Result<BatchHeader, Invalid> {
    if records.is_empty() {
        return Err(invalid(ErrorCode::INVALID_RECORD, "there is no record batch"));
    }
    let header = BatchHeader::parse(records).map_err(of_batch_error)?;
    let len = header.total_len();
    if len > records.len() {
        return Err(of_batch_error(BatchError::Incomplete { have: records.len(), need: len }));
    }
    if len < records.len() {
        let message =
            format!("one record batch for each partition; {} bytes follow the first", records.len() - len);
        return Err(invalid(ErrorCode::INVALID_RECORD, message));
    }
    if len > config.max_message_bytes {
        let message = format!("the batch has {len} bytes, max.message.bytes is {}", config.max_message_bytes);
        return Err(invalid(ErrorCode::MESSAGE_TOO_LARGE, message));
    }
    verify_crc(records).map_err(of_batch_error)?;
    header_fields(&header, version, config, now_ms)?;
    Ok(header)
}

fn header_fields(
    header: &BatchHeader,
    version: i16,
    config: &TopicConfig,
    now_ms: i64,
) -> Result<(), Invalid> {
    let refuse = |message: String| Err(invalid(ErrorCode::INVALID_RECORD, message));
    if header.record_count < 1 || header.record_count != header.last_offset_delta.saturating_add(1) {
        return refuse(format!(
            "{} records with a last offset delta of {}; a producer's batch has one more than that",
            header.record_count, header.last_offset_delta
        ));
    }
    match header.compression() {
        Err(_) => return Err(invalid(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, "unknown compression")),
        Ok(Compression::Zstd) if version < ZSTD_FROM => {
            let message = format!("zstd needs Produce version {ZSTD_FROM}, this is {version}");
            return Err(invalid(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, message));
        }
        Ok(_) => {}
    }
    if header.is_control() {
        return refuse("clients may not write control batches".to_owned());
    }
    if header.is_transactional() {
        return Err(invalid(ErrorCode::INVALID_TXN_STATE, "transactions are not served yet"));
    }
    if header.has_producer() {
        if header.producer_epoch < 0 || header.base_sequence < 0 {
            return refuse(format!(
                "producer {} with epoch {} and sequence {}: both must be 0 or more",
                header.producer_id, header.producer_epoch, header.base_sequence
            ));
        }
    } else if header.base_sequence >= 0 {
        return refuse("a sequence without a producer id".to_owned());
    }
    if config.timestamp_type == TimestampType::CreateTime {
        let newest = header.max_timestamp.max(header.base_timestamp);
        let ahead = newest.saturating_sub(now_ms);
        let behind = now_ms.saturating_sub(header.base_timestamp);
        if ahead > config.timestamp_after_max_ms {
            let message = format!(
                "timestamp {newest} is {ahead} ms ahead, message.timestamp.after.max.ms is {}",
                config.timestamp_after_max_ms
            );
            return Err(invalid(ErrorCode::INVALID_TIMESTAMP, message));
        }
        if header.base_timestamp >= 0 && behind > config.timestamp_before_max_ms {
            let message = format!(
                "timestamp {} is {behind} ms old, message.timestamp.before.max.ms is {}",
                header.base_timestamp, config.timestamp_before_max_ms
            );
            return Err(invalid(ErrorCode::INVALID_TIMESTAMP, message));
        }
    }
    Ok(())
}
