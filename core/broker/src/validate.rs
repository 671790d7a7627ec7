//! What is checked of a produced batch before its partition sees it.
//!
//! `relaxed` (default): exactly one batch, header, CRC, sizes, counts, timestamps by base and maximum, producer fields, no
//! control batch, no transaction. It does not look at the records: a batch whose records contradict its header, or do
//! not decompress, is stored as it came. `strict` walks every record within bounds: offsets without a gap, lengths, each
//! timestamp, and the true maximum of the timestamps. A maximum that is unset (some clients leave it so) is always found
//! by that walk, and stored.

use buslane_wire::ErrorCode;
use buslane_wire::batch::{BatchError, BatchHeader, BatchRecords, Compression, RecordError, verify_crc};

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
        BatchError::Field { field: "record_count" | "last_offset_delta" | "base_offset", .. } => {
            ErrorCode::INVALID_RECORD
        }
        _ => ErrorCode::CORRUPT_MESSAGE,
    };
    invalid(code, error.to_string())
}

/// Records of a batch may decompress to this many times `max.message.bytes`, and to [`DECOMPRESSED_MAX`] at most: more is
/// taken for a bomb.
const EXPANSION_MAX: usize = 64;
const DECOMPRESSED_MAX: usize = 256 << 20;

/// Wrong records that are told one by one; the rest only shows in the batch's error.
const RECORD_ERRORS_MAX: usize = 20;

/// A batch that can be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Its header as received.
    pub header: BatchHeader,
    /// The true maximum of its timestamps, where the header does not have it.
    pub max_timestamp: Option<i64>,
}

/// Checks the records field of one partition in a produce request of `version`.
pub fn batch(records: &[u8], version: i16, config: &TopicConfig, now_ms: i64) -> Result<Checked, Invalid> {
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
    let unset =
        config.timestamp_type == TimestampType::CreateTime && header.max_timestamp < header.base_timestamp;
    if !config.strict_validation && !unset {
        return Ok(Checked { header, max_timestamp: None });
    }
    let max = walk(records, config, now_ms)?;
    Ok(Checked { header, max_timestamp: Some(max).filter(|max| *max != header.max_timestamp) })
}

/// Looks at every record; returns the greatest timestamp.
fn walk(batch: &[u8], config: &TopicConfig, now_ms: i64) -> Result<i64, Invalid> {
    let limit = config.max_message_bytes.saturating_mul(EXPANSION_MAX).min(DECOMPRESSED_MAX);
    let of_record_error = |error: RecordError| match error {
        RecordError::Batch(error) => of_batch_error(error),
        RecordError::Decompress(error) => invalid(ErrorCode::CORRUPT_MESSAGE, error.to_string()),
        RecordError::Malformed { number, reason } => Invalid {
            code: ErrorCode::INVALID_RECORD,
            message: format!("record {number}: {reason}"),
            records: vec![(number as i32, reason.to_owned())],
        },
    };
    let opened = BatchRecords::open(batch, limit).map_err(of_record_error)?;
    let mut max = i64::MIN;
    let mut late = Vec::new();
    for (number, record) in opened.iter().enumerate() {
        let record = record.map_err(of_record_error)?;
        if record.offset_delta as usize != number {
            let reason = format!("its offset delta is {}, not {number}", record.offset_delta);
            return Err(Invalid {
                code: ErrorCode::INVALID_RECORD,
                message: format!("record {number}: {reason}"),
                records: vec![(number as i32, reason)],
            });
        }
        max = max.max(record.timestamp);
        if config.timestamp_type == TimestampType::CreateTime
            && let Some(reason) = out_of_time(record.timestamp, config, now_ms)
            && late.len() < RECORD_ERRORS_MAX
        {
            late.push((number as i32, reason));
        }
    }
    match late.first() {
        None => Ok(max),
        Some((number, reason)) => {
            let message = format!("record {number}: {reason}");
            Err(Invalid { code: ErrorCode::INVALID_TIMESTAMP, message, records: late })
        }
    }
}

/// Why a timestamp is too far from the broker's clock, if it is. Negative ones mean "none" and are not judged as old.
fn out_of_time(timestamp: i64, config: &TopicConfig, now_ms: i64) -> Option<String> {
    let ahead = timestamp.saturating_sub(now_ms);
    if ahead > config.timestamp_after_max_ms {
        let limit = config.timestamp_after_max_ms;
        return Some(format!(
            "timestamp {timestamp} is {ahead} ms ahead, message.timestamp.after.max.ms is {limit}"
        ));
    }
    let behind = now_ms.saturating_sub(timestamp);
    if timestamp >= 0 && behind > config.timestamp_before_max_ms {
        let limit = config.timestamp_before_max_ms;
        return Some(format!(
            "timestamp {timestamp} is {behind} ms old, message.timestamp.before.max.ms is {limit}"
        ));
    }
    None
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
    if header.base_offset != 0 {
        return refuse(format!("the base offset is {}; a producer's batch has 0", header.base_offset));
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
    if header.has_producer() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return refuse(format!(
            "producer {} with epoch {} and sequence {}: both must be 0 or more",
            header.producer_id, header.producer_epoch, header.base_sequence
        ));
    }
    // Without a producer id the sequence means nothing: kafkajs and aiokafka leave a 0 there.
    if config.timestamp_type == TimestampType::CreateTime {
        let newest = header.max_timestamp.max(header.base_timestamp);
        if let Some(reason) =
            [newest, header.base_timestamp].into_iter().find_map(|t| out_of_time(t, config, now_ms))
        {
            return Err(invalid(ErrorCode::INVALID_TIMESTAMP, reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use buslane_wire::batch::{BatchBuilder, NewRecord, crc_of};

    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn config(settings: &[(&str, &str)]) -> TopicConfig {
        let map: BTreeMap<String, String> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        TopicConfig::resolve(&map, &BTreeMap::new())
    }

    fn built(compression: Compression, timestamps: &[i64]) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for timestamp in timestamps {
            builder.push(&NewRecord { timestamp: *timestamp, value: Some(b"value"), ..NewRecord::default() });
        }
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 49,
            partition_leader_epoch: -1,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        let mut out = Vec::new();
        builder.finish(header, compression, &mut out);
        out
    }

    /// A batch with a changed header and a CRC that fits.
    fn changed(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
        let mut header = BatchHeader::parse(batch).unwrap();
        change(&mut header);
        let mut out = batch.to_vec();
        out[..61].copy_from_slice(&header.encode());
        let crc = crc_of(&out);
        out[..61].copy_from_slice(&BatchHeader { crc, ..header }.encode());
        out
    }

    fn code(records: &[u8], settings: &[(&str, &str)]) -> ErrorCode {
        batch(records, 9, &config(settings), NOW).err().map_or(ErrorCode::NONE, |i| i.code)
    }

    #[test]
    fn a_good_batch_passes_in_every_codec_and_both_modes() {
        for codec in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let good = built(codec, &[NOW, NOW + 5, NOW + 3]);
            for mode in ["relaxed", "strict"] {
                let checked = batch(&good, 9, &config(&[("buslane.validation", mode)]), NOW).unwrap();
                assert_eq!(
                    (checked.header.record_count, checked.max_timestamp),
                    (3, None),
                    "{codec:?} {mode}"
                );
            }
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        let good = built(Compression::None, &[NOW, NOW]);
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(code(&flipped, &[]), ErrorCode::CORRUPT_MESSAGE);
        assert_eq!(code(&good[..good.len() - 1], &[]), ErrorCode::CORRUPT_MESSAGE);
        assert_eq!(code(&[], &[]), ErrorCode::INVALID_RECORD);
        assert_eq!(code(&[&good[..], &good[..]].concat(), &[]), ErrorCode::INVALID_RECORD);
        let mut old = good.clone();
        old[16] = 1;
        assert_eq!(code(&old, &[]), ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT);
        assert_eq!(code(&good, &[("max.message.bytes", "61")]), ErrorCode::MESSAGE_TOO_LARGE);
        assert_eq!(code(&changed(&good, |h| h.record_count = 3), &[]), ErrorCode::INVALID_RECORD);
        assert_eq!(code(&changed(&good, |h| h.attributes = 32), &[]), ErrorCode::INVALID_RECORD);
        assert_eq!(code(&changed(&good, |h| h.attributes = 16), &[]), ErrorCode::INVALID_TXN_STATE);
        assert_eq!(code(&changed(&good, |h| h.attributes = 5), &[]), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
        assert_eq!(code(&changed(&good, |h| h.producer_id = 7), &[]), ErrorCode::INVALID_RECORD);
        let future = built(Compression::None, &[NOW + 3_600_001]);
        assert_eq!(code(&future, &[]), ErrorCode::INVALID_TIMESTAMP);
        assert_eq!(code(&future, &[("message.timestamp.type", "LogAppendTime")]), ErrorCode::NONE);
        let past = built(Compression::None, &[NOW - 1_000]);
        assert_eq!(code(&past, &[("message.timestamp.before.max.ms", "999")]), ErrorCode::INVALID_TIMESTAMP);
        let zstd = built(Compression::Zstd, &[NOW]);
        assert_eq!(
            batch(&zstd, 6, &config(&[]), NOW).unwrap_err().code,
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        );
    }

    #[test]
    fn an_unset_maximum_is_found_and_strict_corrects_a_false_one() {
        let good = built(Compression::Lz4, &[NOW, NOW + 9, NOW + 2]);
        let unset = changed(&good, |h| h.max_timestamp = -1);
        assert_eq!(batch(&unset, 9, &config(&[]), NOW).unwrap().max_timestamp, Some(NOW + 9));
        let wrong = changed(&good, |h| h.max_timestamp = NOW + 50);
        assert_eq!(batch(&wrong, 9, &config(&[]), NOW).unwrap().max_timestamp, None, "relaxed does not look");
        let strict = config(&[("buslane.validation", "strict")]);
        assert_eq!(batch(&wrong, 9, &strict, NOW).unwrap().max_timestamp, Some(NOW + 9));
    }

    #[test]
    fn strict_names_the_record_that_is_wrong() {
        let strict = [("buslane.validation", "strict")];
        let damaged = changed(&built(Compression::None, &[NOW, NOW]), |_| {});
        let mut records = damaged[61..].to_vec();
        let second = records.len() / 2;
        // The second record claims the first one's offset.
        records[second + 3] = 0;
        let batch_bytes = changed(&[&damaged[..61], &records[..]].concat(), |_| {});
        assert_eq!(code(&batch_bytes, &[]), ErrorCode::NONE, "relaxed stores it as it came");
        let refused = batch(&batch_bytes, 9, &config(&strict), NOW).unwrap_err();
        assert_eq!((refused.code, refused.records[0].0), (ErrorCode::INVALID_RECORD, 1));
        // Bytes that do not decompress.
        let packed = built(Compression::Gzip, &[NOW]);
        let broken = changed(&[&packed[..61], &vec![7; packed.len() - 61][..]].concat(), |_| {});
        assert_eq!(code(&broken, &strict), ErrorCode::CORRUPT_MESSAGE);
    }

    #[test]
    fn a_decompression_bomb_is_refused() {
        let mut builder = BatchBuilder::default();
        let zeros = vec![0; 8 << 20];
        builder.push(&NewRecord { timestamp: NOW, value: Some(&zeros), ..NewRecord::default() });
        let header = BatchHeader::parse(&built(Compression::None, &[NOW])).unwrap();
        let mut bomb = Vec::new();
        builder.finish(header, Compression::Zstd, &mut bomb);
        let settings = [("buslane.validation", "strict"), ("max.message.bytes", "10000")];
        assert_eq!(code(&bomb, &settings), ErrorCode::CORRUPT_MESSAGE);
        assert_eq!(code(&bomb, &settings[..1]), ErrorCode::NONE);
    }
}
