//! What is checked of a produced batch before its partition sees it: [`buslane_wire::batch::validate`] by the topic's
//! settings (`buslane.validation` = `relaxed` or `strict`), and Kafka's codes for what it refuses.
//!
//! Batches whose records are looked at cost time and memory that their size does not tell. So no more of them are
//! decompressed at one moment than there are processors, on threads that serve nobody else meanwhile ([`in_order`]), and
//! those of one request to [`REQUEST_DECOMPRESSED_MAX`] bytes together.

use std::cell::RefCell;
use std::sync::LazyLock;

use buslane_wire::ErrorCode;
use buslane_wire::batch::{
    self, Accepted, BatchHeader, Compression, DecompressError, Decompressor, Depth, RefusalKind, Refused,
    Rules, TimestampType,
};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::topic_config::TopicConfig;

/// Records of a batch may decompress to this many times `max.message.bytes`, and to [`DECOMPRESSED_MAX`] at most: more is
/// taken for a bomb.
const EXPANSION_MAX: usize = 64;
const DECOMPRESSED_MAX: usize = 256 << 20;

/// What the batches of one request may decompress to, where they are looked at. What lies beyond is refused with a
/// retriable error: a client that sends it again finds the rest of its request stored.
pub const REQUEST_DECOMPRESSED_MAX: usize = 256 << 20;

const _: () = assert!(DECOMPRESSED_MAX <= REQUEST_DECOMPRESSED_MAX, "a batch alone is never beyond");

/// Records that are not compressed are looked through on a runtime thread up to this many bytes: some tens of
/// microseconds.
const WALKED_AT_ONCE: usize = 64 << 10;

thread_local! {
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::default();
}

/// What the batches of a request may still decompress to, in bytes.
#[derive(Debug)]
pub struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance(REQUEST_DECOMPRESSED_MAX)
    }
}

/// Places for those who look through batches: as many as there are processors.
struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

static PLACES: LazyLock<Places> = LazyLock::new(|| Places {
    free: Mutex::new(std::thread::available_parallelism().map_or(1, usize::from)),
    freed: Condvar::new(),
});

struct Place;

impl Place {
    /// Waits for one; blocks the thread.
    fn take() -> Place {
        let mut free = PLACES.free.lock();
        while *free == 0 {
            PLACES.freed.wait(&mut free);
        }
        *free -= 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *PLACES.free.lock() += 1;
        PLACES.freed.notify_one();
    }
}

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

/// Checks the records field of one partition in a produce request of `version`, like [`batch`], and does what may take
/// long where it holds up no other task of the runtime. It returns when that is done, so that whoever calls it for one
/// batch after another keeps their order.
pub fn in_order(
    records: &[u8],
    version: i16,
    config: &TopicConfig,
    now_ms: i64,
    allowance: &mut Allowance,
) -> Result<Accepted, Invalid> {
    if !takes_long(records, config) {
        return batch(records, version, config, now_ms, allowance);
    }
    let mut check = || {
        let _place = Place::take();
        batch(records, version, config, now_ms, allowance)
    };
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(check),
        // Not in the server: a runtime of one thread has nobody to hand its tasks to.
        _ => check(),
    }
}

/// Whether a batch's records are looked at, which [`batch::validate`] says when, and are many or compressed.
fn takes_long(records: &[u8], config: &TopicConfig) -> bool {
    let Ok(header) = BatchHeader::parse(records) else { return false };
    let unset = header.max_timestamp < header.base_timestamp.max(0);
    let looked_at = config.strict_validation
        || config.compact
        || (unset && config.timestamp_type == TimestampType::CreateTime);
    looked_at && (records.len() > WALKED_AT_ONCE || header.compression() != Ok(Compression::None))
}

/// Checks the records field of one partition in a produce request of `version`.
fn batch(
    records: &[u8],
    version: i16,
    config: &TopicConfig,
    now_ms: i64,
    allowance: &mut Allowance,
) -> Result<Accepted, Invalid> {
    let own_max = config.max_message_bytes.saturating_mul(EXPANSION_MAX).min(DECOMPRESSED_MAX);
    let rules = Rules {
        depth: if config.strict_validation { Depth::Strict } else { Depth::Relaxed },
        produce_version: version,
        max_batch_bytes: config.max_message_bytes,
        max_decompressed_bytes: own_max.min(allowance.0),
        timestamp_type: config.timestamp_type,
        timestamp_before_max_ms: config.timestamp_before_max_ms,
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        keys_required: config.compact,
    };
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let checked = batch::validate(records, &rules, now_ms, decompressor);
        let came_out = decompressor.came_out();
        if came_out > 0 {
            allowance.0 = allowance.0.saturating_sub(came_out);
            // What came out of this one is not counted again for the next, which may not be opened at all.
            decompressor.forget_output();
        }
        checked.map_err(|refused| match refused {
            Refused::Decompress(DecompressError::TooLarge { limit, .. }) if limit < own_max => beyond(),
            refused => refused.into(),
        })
    })
}

/// For a batch that is one too many.
fn beyond() -> Invalid {
    Invalid {
        code: ErrorCode::NOT_ENOUGH_REPLICAS,
        message: format!(
            "the batches of this request decompress to more than {REQUEST_DECOMPRESSED_MAX} bytes; send this one again"
        ),
        records: Vec::new(),
    }
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
        TopicConfig::resolve(&map, &Default::default())
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

    fn checked(records: &[u8], config: &TopicConfig) -> Result<Accepted, Invalid> {
        batch(records, 9, config, NOW, &mut Allowance::default())
    }

    fn code(records: &[u8], settings: &[(&str, &str)]) -> ErrorCode {
        checked(records, &config(settings)).err().map_or(ErrorCode::NONE, |i| i.code)
    }

    #[test]
    fn a_good_batch_passes_in_every_codec_and_both_modes() {
        for codec in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let good = built(codec, &[NOW, NOW + 5, NOW + 3]);
            for mode in ["relaxed", "strict"] {
                let checked = checked(&good, &config(&[("buslane.validation", mode)])).unwrap();
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
            batch(&zstd, 6, &config(&[]), NOW, &mut Allowance::default()).unwrap_err().code,
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        );
    }

    #[test]
    fn an_unset_maximum_is_found_and_strict_corrects_a_false_one() {
        let good = built(Compression::Lz4, &[NOW, NOW + 9, NOW + 2]);
        let unset = changed(&good, |h| h.max_timestamp = -1);
        assert_eq!(checked(&unset, &config(&[])).unwrap().max_timestamp, Some(NOW + 9));
        let wrong = changed(&good, |h| h.max_timestamp = NOW + 50);
        assert_eq!(checked(&wrong, &config(&[])).unwrap().max_timestamp, None, "relaxed does not look");
        let strict = config(&[("buslane.validation", "strict")]);
        assert_eq!(checked(&wrong, &strict).unwrap().max_timestamp, Some(NOW + 9));
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
        let refused = checked(&batch_bytes, &config(&strict)).unwrap_err();
        assert_eq!((refused.code, refused.records[0].0), (ErrorCode::INVALID_RECORD, 1));
        // Bytes that do not decompress.
        let packed = built(Compression::Gzip, &[NOW]);
        let broken = changed(&[&packed[..61], &vec![7; packed.len() - 61][..]].concat(), |_| {});
        assert_eq!(code(&broken, &strict), ErrorCode::CORRUPT_MESSAGE);
    }

    /// One record of `len` zeros, compressed.
    fn zeros(len: usize, codec: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        builder.push(&NewRecord { timestamp: NOW, value: Some(&vec![0; len]), ..NewRecord::default() });
        let header = BatchHeader::parse(&built(Compression::None, &[NOW])).unwrap();
        let mut out = Vec::new();
        builder.finish(header, codec, &mut out);
        out
    }

    #[test]
    fn the_batches_of_a_request_decompress_to_a_bounded_number_of_bytes() {
        let strict = config(&[("buslane.validation", "strict")]);
        for codec in [Compression::Gzip, Compression::Zstd, Compression::Lz4, Compression::Snappy] {
            let large = zeros(3 << 20, codec);
            let mut allowance = Allowance(8 << 20);
            let mut next = |bytes: &[u8]| batch(bytes, 9, &strict, NOW, &mut allowance).map_err(|e| e.code);
            assert!(next(&large).is_ok() && next(&large).is_ok());
            assert_eq!(next(&large), Err(ErrorCode::NOT_ENOUGH_REPLICAS), "{codec:?}: to be sent again");
            assert!(next(&built(Compression::None, &[NOW])).is_ok(), "nothing comes out of this one");
            // Alone it passes.
            assert!(checked(&large, &strict).is_ok());
        }
    }

    #[test]
    fn a_batch_that_is_not_opened_costs_nothing_of_the_allowance() {
        let mut allowance = Allowance(8 << 20);
        let strict = config(&[("buslane.validation", "strict")]);
        batch(&zeros(3 << 20, Compression::Lz4), 9, &strict, NOW, &mut allowance).unwrap();
        let left = allowance.0;
        assert!(left < 5 << 20);
        for _ in 0..3 {
            batch(&built(Compression::Lz4, &[NOW]), 9, &config(&[]), NOW, &mut allowance).unwrap();
            batch(&built(Compression::None, &[NOW]), 9, &strict, NOW, &mut allowance).unwrap();
        }
        assert_eq!(allowance.0, left);
    }

    #[test]
    fn what_takes_long_is_known_by_its_header() {
        let strict = config(&[("buslane.validation", "strict")]);
        let (packed, plain) = (built(Compression::Lz4, &[NOW]), built(Compression::None, &[NOW]));
        assert!(takes_long(&packed, &strict) && !takes_long(&plain, &strict));
        assert!(!takes_long(&packed, &config(&[])), "nobody looks into it");
        let unset = changed(&packed, |h| h.max_timestamp = -1);
        assert!(takes_long(&unset, &config(&[])));
        assert!(!takes_long(&unset, &config(&[("message.timestamp.type", "LogAppendTime")])));
        assert!(takes_long(&zeros(WALKED_AT_ONCE, Compression::None), &strict));
        assert!(!takes_long(&packed[..20], &strict));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_run_while_a_batch_waits_for_its_place() {
        let places: Vec<Place> =
            (0..std::thread::available_parallelism().map_or(1, usize::from)).map(|_| Place::take()).collect();
        let strict = config(&[("buslane.validation", "strict")]);
        let checking = tokio::spawn(async move {
            let packed = built(Compression::Zstd, &[NOW]);
            in_order(&packed, 9, &strict, NOW, &mut Allowance::default()).map(|a| a.header.record_count)
        });
        // The only worker is on this task, or in the check: this ends only if it went on elsewhere.
        tokio::spawn(async { tokio::task::yield_now().await }).await.unwrap();
        assert!(!checking.is_finished());
        drop(places);
        assert_eq!(checking.await.unwrap(), Ok(1));
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
