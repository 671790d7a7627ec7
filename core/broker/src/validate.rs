//! What is checked of a produced batch before its partition sees it: [`buslane_wire::batch::validate`] by the topic's
//! settings (`buslane.validation` = `relaxed` or `strict`), and Kafka's codes for what it refuses.

use buslane_wire::ErrorCode;
use buslane_wire::batch::{self, Accepted, Decompressor, Depth, RefusalKind, Refused, Rules};

use crate::topic_config::TopicConfig;

/// Records of a batch may decompress to this many times `max.message.bytes`, and to [`DECOMPRESSED_MAX`] at most: more is
/// taken for a bomb.
const EXPANSION_MAX: usize = 64;
const DECOMPRESSED_MAX: usize = 256 << 20;

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

impl From<Refused> for Invalid {
    fn from(refused: Refused) -> Invalid {
        let code = match refused.kind() {
            RefusalKind::Corrupt => ErrorCode::CORRUPT_MESSAGE,
            RefusalKind::InvalidRecord => ErrorCode::INVALID_RECORD,
            RefusalKind::InvalidTimestamp => ErrorCode::INVALID_TIMESTAMP,
            RefusalKind::TooLarge => ErrorCode::MESSAGE_TOO_LARGE,
            RefusalKind::MessageFormat => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            RefusalKind::CompressionType => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            RefusalKind::Transaction => ErrorCode::INVALID_TXN_STATE,
        };
        let records = match &refused {
            Refused::Records { faults, .. } => {
                faults.iter().map(|fault| (fault.index, fault.reason.to_string())).collect()
            }
            _ => Vec::new(),
        };
        Invalid { code, message: refused.to_string(), records }
    }
}

/// Checks the records field of one partition in a produce request of `version`.
pub fn batch(records: &[u8], version: i16, config: &TopicConfig, now_ms: i64) -> Result<Accepted, Invalid> {
    let rules = Rules {
        depth: if config.strict_validation { Depth::Strict } else { Depth::Relaxed },
        produce_version: version,
        max_batch_bytes: config.max_message_bytes,
        max_decompressed_bytes: config.max_message_bytes.saturating_mul(EXPANSION_MAX).min(DECOMPRESSED_MAX),
        timestamp_type: config.timestamp_type,
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        keys_required: false,
    };
    batch::validate(records, &rules, now_ms, &mut Decompressor::new()).map_err(Invalid::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use buslane_wire::batch::{BatchBuilder, BatchHeader, Compression, NewRecord, crc_of};

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
