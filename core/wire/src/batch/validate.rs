//! What a broker checks of a produced batch, as one function of the bytes, the topic's rules and the time.
//!
//! | checked | relaxed | strict |
//! | --- | --- | --- |
//! | exactly one batch; whole; not above `max.message.bytes`; CRC; format 2; known attributes and codec | yes | yes |
//! | base offset 0, as many records as offsets, at least one | by the header | by the records too |
//! | producer id, epoch and sequence together; no control batch, no transaction, no broker's bits | yes | yes |
//! | timestamps within `message.timestamp.before.max.ms` and `after.max.ms` | base and maximum | of each record |
//! | decompresses, and not to more than the limit | no | yes |
//! | each record whole, offsets without a gap, no bytes behind the last one | no | yes |
//! | the maximum timestamp is that of the records; else the true one is returned, to be stored | where unset | yes |
//!
//! So `relaxed` stores records that contradict their header, or do not decompress, as they came, and a consumer finds
//! that out; a wrong maximum timestamp makes lookups by time miss records; a single timestamp between base and maximum
//! is within bounds only if both are. The CRC shows damage, not malice.
//!
//! The records are walked in relaxed mode too where Kafka needs to look at them: the topic demands keys (it is compacted),
//! or the maximum timestamp is unset (below the base, or -1), as some clients leave it. Sources: Kafka's `LogValidator`
//! and `ProduceRequest`; KIP-98, KIP-110 (zstd), KIP-467 (errors of single records), KIP-937 (timestamp bounds).

use super::{
    BatchError, BatchHeader, Batches, Compression, DecompressError, Decompressor, RecordError, TimestampType,
    verify_crc,
};

/// First Produce version that may carry zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// "No timestamp", which no bound applies to.
const NO_TIMESTAMP: i64 = -1;

/// Wrong records that are told one by one; of the others only their number.
pub const RECORD_FAULTS_MAX: usize = 20;

/// How closely to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Depth {
    /// At the header and the CRC.
    #[default]
    Relaxed,
    /// At every record.
    Strict,
}

/// What a topic asks of its batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// How closely to look.
    pub depth: Depth,
    /// Version of the produce request.
    pub produce_version: i16,
    /// `max.message.bytes`: most bytes of a batch, header included.
    pub max_batch_bytes: usize,
    /// Most bytes that its records may decompress to, where they are looked at.
    pub max_decompressed_bytes: usize,
    /// `message.timestamp.type`. The broker's clock makes the producer's timestamps irrelevant.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far behind the broker's clock a timestamp may be.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of it.
    pub timestamp_after_max_ms: i64,
    /// The topic is compacted: a record without a key has no place there.
    pub keys_required: bool,
}

/// A batch that can be appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Its header as received.
    pub header: BatchHeader,
    /// The true maximum of its timestamps, where the header has another: see
    /// [`StampedBatch::stamp_max_timestamp`](super::StampedBatch::stamp_max_timestamp).
    pub max_timestamp: Option<i64>,
}

/// Kafka's error codes for a refused batch; the map to their numbers is the broker's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// CORRUPT_MESSAGE: the bytes are damaged. Clients send again.
    Corrupt,
    /// INVALID_RECORD.
    InvalidRecord,
    /// INVALID_TIMESTAMP.
    InvalidTimestamp,
    /// MESSAGE_TOO_LARGE. Clients may split the batch.
    TooLarge,
    /// UNSUPPORTED_FOR_MESSAGE_FORMAT.
    MessageFormat,
    /// UNSUPPORTED_COMPRESSION_TYPE.
    CompressionType,
    /// INVALID_TXN_STATE.
    Transaction,
}

/// Why a batch is refused. The text is for the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// There are no bytes.
    #[error("there is no record batch")]
    Empty,
    /// They are no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// More than the one batch that a partition may have in a request.
    #[error("one record batch for each partition; {after} bytes follow the first")]
    Several {
        /// Bytes behind the first batch.
        after: usize,
    },
    /// Above `max.message.bytes`.
    #[error("the batch has {bytes} bytes, max.message.bytes is {max}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A producer's offsets count from 0.
    #[error("the base offset is {base_offset}; a producer's batch has 0")]
    BaseOffset {
        /// In the header.
        base_offset: i64,
    },
    /// The records fill their offsets, in a producer's batch.
    #[error(
        "{record_count} records with a last offset delta of {last_offset_delta}; a producer's batch has one more than that"
    )]
    Count {
        /// In the header.
        record_count: i32,
        /// In the header.
        last_offset_delta: i32,
    },
    /// A codec that nobody knows.
    #[error("compression type {bits} is unknown")]
    Codec {
        /// In the attributes.
        bits: i16,
    },
    /// zstd in a request that is too old for it.
    #[error("zstd needs Produce version {ZSTD_FROM} or later, this is {produce_version}")]
    ZstdTooEarly {
        /// Of the request.
        produce_version: i16,
    },
    /// Transaction markers are the broker's.
    #[error("clients may not write control batches")]
    Control,
    /// Refused for now.
    #[error("transactions are not served yet")]
    Transactional,
    /// A producer id comes with an epoch and a sequence.
    #[error("producer {id} with epoch {epoch} and sequence {sequence}: both must be 0 or more")]
    Producer {
        /// In the header.
        id: i64,
        /// In the header.
        epoch: i16,
        /// In the header.
        sequence: i32,
    },
    /// The append time is the broker's.
    #[error("a producer may not set the timestamp type LogAppendTime")]
    AppendTime,
    /// The delete horizon is compaction's.
    #[error("a producer may not set a delete horizon")]
    DeleteHorizon,
    /// Base or maximum timestamp out of bounds.
    #[error(transparent)]
    OutOfTime(#[from] OutOfTime),
    /// The records do not decompress, or to too much.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// Records are wrong.
    #[error("{total} wrong records; {}", faults.first().map_or_else(String::new, RecordFault::to_string))]
    Records {
        /// The first [`RECORD_FAULTS_MAX`] of them, in order; at least one.
        faults: Vec<RecordFault>,
        /// How many were found: none after one that is malformed.
        total: usize,
    },
}

impl Refused {
    /// The error code to answer with.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Refused::Batch(BatchError::Magic(_)) => RefusalKind::MessageFormat,
            Refused::Batch(BatchError::Field { field: "batch_length", .. }) => RefusalKind::Corrupt,
            Refused::Batch(BatchError::Field { .. }) => RefusalKind::InvalidRecord,
            Refused::Batch(BatchError::Incomplete { .. } | BatchError::Crc { .. }) => RefusalKind::Corrupt,
            Refused::Decompress(_) => RefusalKind::Corrupt,
            Refused::TooLarge { .. } => RefusalKind::TooLarge,
            Refused::Codec { .. } | Refused::ZstdTooEarly { .. } => RefusalKind::CompressionType,
            Refused::Transactional => RefusalKind::Transaction,
            Refused::AppendTime | Refused::OutOfTime(_) => RefusalKind::InvalidTimestamp,
            // As in Kafka, one timestamp among them gives all of them its name.
            Refused::Records { faults, .. }
                if faults.iter().any(|f| matches!(f.reason, FaultReason::OutOfTime(_))) =>
            {
                RefusalKind::InvalidTimestamp
            }
            Refused::Records { .. }
            | Refused::Empty
            | Refused::Several { .. }
            | Refused::BaseOffset { .. }
            | Refused::Count { .. }
            | Refused::Control
            | Refused::Producer { .. }
            | Refused::DeleteHorizon => RefusalKind::InvalidRecord,
        }
    }
}

/// A record that is wrong (KIP-467).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record {index}: {reason}")]
pub struct RecordFault {
    /// In the batch, from 0; the number of records for what follows the last one.
    pub index: i32,
    /// What is wrong.
    pub reason: FaultReason,
}

/// What is wrong with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FaultReason {
    /// It cannot be read.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its offset delta is not its index.
    #[error("its offset delta is {got}, in a producer's batch it is the record's number")]
    OffsetDelta {
        /// The one it has.
        got: i32,
    },
    /// The topic is compacted and it has no key.
    #[error("a compacted topic needs a key")]
    NoKey,
    /// Its timestamp is out of bounds.
    #[error(transparent)]
    OutOfTime(OutOfTime),
}

/// A timestamp too far from the broker's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OutOfTime {
    /// Too old.
    #[error("timestamp {timestamp} is {by_ms} ms old, message.timestamp.before.max.ms is {max_ms}")]
    Behind {
        /// In milliseconds.
        timestamp: i64,
        /// Its age.
        by_ms: i64,
        /// The limit.
        max_ms: i64,
    },
    /// Too far ahead.
    #[error("timestamp {timestamp} is {by_ms} ms ahead, message.timestamp.after.max.ms is {max_ms}")]
    Ahead {
        /// In milliseconds.
        timestamp: i64,
        /// How far ahead.
        by_ms: i64,
        /// The limit.
        max_ms: i64,
    },
}

impl Rules {
    fn in_time(&self, timestamp: i64, now_ms: i64) -> Result<(), OutOfTime> {
        if self.timestamp_type == TimestampType::LogAppendTime || timestamp == NO_TIMESTAMP {
            return Ok(());
        }
        let (behind, ahead) = (now_ms.saturating_sub(timestamp), timestamp.saturating_sub(now_ms));
        if behind > self.timestamp_before_max_ms {
            return Err(OutOfTime::Behind { timestamp, by_ms: behind, max_ms: self.timestamp_before_max_ms });
        }
        if ahead > self.timestamp_after_max_ms {
            return Err(OutOfTime::Ahead { timestamp, by_ms: ahead, max_ms: self.timestamp_after_max_ms });
        }
        Ok(())
    }
}

/// Checks the records of one partition in a produce request, at `now_ms` by the broker's clock.
///
/// Memory: where records are looked at and compressed, at most [`Rules::max_decompressed_bytes`] in the decompressor.
pub fn validate(
    records: &[u8],
    rules: &Rules,
    now_ms: i64,
    decompressor: &mut Decompressor,
) -> Result<Accepted, Refused> {
    let Some(first) = Batches::new(records).next() else { return Err(Refused::Empty) };
    let (_, header, batch) = first?;
    if batch.len() < records.len() {
        return Err(Refused::Several { after: records.len() - batch.len() });
    }
    if batch.len() > rules.max_batch_bytes {
        return Err(Refused::TooLarge { bytes: batch.len(), max: rules.max_batch_bytes });
    }
    verify_crc(batch)?;
    check_header(&header, rules, now_ms)?;

    let create_time = rules.timestamp_type == TimestampType::CreateTime;
    let unset = header.max_timestamp == NO_TIMESTAMP || header.max_timestamp < header.base_timestamp;
    if rules.depth == Depth::Relaxed && !rules.keys_required && !(unset && create_time) {
        return Ok(Accepted { header, max_timestamp: None });
    }
    let max = check_records(batch, rules, now_ms, decompressor)?;
    Ok(Accepted {
        header,
        max_timestamp: Some(max).filter(|max| create_time && *max != header.max_timestamp),
    })
}

fn check_header(header: &BatchHeader, rules: &Rules, now_ms: i64) -> Result<(), Refused> {
    let BatchHeader { base_offset, record_count, last_offset_delta, .. } = *header;
    if base_offset != 0 {
        return Err(Refused::BaseOffset { base_offset });
    }
    if i64::from(record_count) != i64::from(last_offset_delta) + 1 {
        return Err(Refused::Count { record_count, last_offset_delta });
    }
    match header.compression() {
        Err(_) => return Err(Refused::Codec { bits: header.attributes & 7 }),
        Ok(Compression::Zstd) if rules.produce_version < ZSTD_FROM => {
            return Err(Refused::ZstdTooEarly { produce_version: rules.produce_version });
        }
        Ok(_) => {}
    }
    if header.is_control() {
        return Err(Refused::Control);
    }
    if header.is_transactional() {
        return Err(Refused::Transactional);
    }
    if header.has_delete_horizon() {
        return Err(Refused::DeleteHorizon);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(Refused::AppendTime);
    }
    // Without a producer id epoch and sequence mean nothing: kafkajs and aiokafka leave zeros there.
    if header.has_producer() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(Refused::Producer {
            id: header.producer_id,
            epoch: header.producer_epoch,
            sequence: header.base_sequence,
        });
    }
    rules.in_time(header.base_timestamp, now_ms)?;
    if header.max_timestamp > header.base_timestamp {
        rules.in_time(header.max_timestamp, now_ms)?;
    }
    Ok(())
}

/// Looks at every record; returns the greatest timestamp.
fn check_records(
    batch: &[u8],
    rules: &Rules,
    now_ms: i64,
    decompressor: &mut Decompressor,
) -> Result<i64, Refused> {
    let refused = |error: RecordError| match error {
        RecordError::Batch(error) => Refused::Batch(error),
        RecordError::Decompress(error) => Refused::Decompress(error),
        RecordError::Malformed { number, reason } => Refused::Records {
            faults: vec![RecordFault { index: number as i32, reason: FaultReason::Malformed(reason) }],
            total: 1,
        },
    };
    let records = decompressor.records(batch, rules.max_decompressed_bytes).map_err(refused)?;
    let mut max = i64::MIN;
    let mut faults = Vec::new();
    let mut total = 0;
    for (index, record) in (0..).zip(records.iter()) {
        let reason = match record {
            Err(RecordError::Malformed { reason, .. }) => Err(FaultReason::Malformed(reason)),
            Err(other) => return Err(refused(other)),
            Ok(record) if record.offset_delta != index => {
                Err(FaultReason::OffsetDelta { got: record.offset_delta })
            }
            Ok(record) if rules.keys_required && record.key.is_none() => Err(FaultReason::NoKey),
            Ok(record) => {
                max = max.max(record.timestamp);
                rules.in_time(record.timestamp, now_ms).map_err(FaultReason::OutOfTime)
            }
        };
        if let Err(reason) = reason {
            total += 1;
            if faults.len() < RECORD_FAULTS_MAX {
                faults.push(RecordFault { index, reason });
            }
        }
    }
    if faults.is_empty() { Ok(max) } else { Err(Refused::Records { faults, total }) }
}

#[cfg(test)]
mod tests;
