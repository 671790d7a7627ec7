//! What stands in the files of a data folder, as values: the command line prints them as text or JSON.
//!
//! Damage ends a dump with a value that says so; nothing here repairs, takes a lock or writes, so a server may run meanwhile:
//! what it is just writing may look torn.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use buslane_wire::batch::{BatchHeader, BatchRecords};
use serde::{Serialize, Serializer};

use crate::fs::{Fs, OpenMode, read_exact_at};
use crate::index::{ENTRY_LEN, IndexOf};
use crate::journal::JournalError;
use crate::journal::record::Record;
use crate::journal::{replay, replay_before};
use crate::layout::{self, Part};
use crate::producers;
use crate::walk::{Walk, WalkError, check_crc};

/// Largest size to which a batch is decompressed, in bytes.
const DECOMPRESSED_MAX: usize = 128 << 20;

/// Why a file cannot be dumped.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// Its name is none that a store gives.
    #[error(
        "{file}: not a segment's file: expected a name like 00000000000000000042-7.log, .index or .producers"
    )]
    Name {
        /// The file.
        file: String,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The disk failed, or there is no such file.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
}

/// One batch of a log file.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BatchDump {
    /// Where it starts, in bytes.
    pub position: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Epoch of the leader that stored it.
    pub leader_epoch: i32,
    /// Records in it.
    pub record_count: i32,
    /// `none`, `gzip`, `snappy`, `lz4`, `zstd`, or a number that is none of these.
    pub compression: String,
    /// The broker's clock stamped it.
    pub log_append_time: bool,
    /// Milliseconds.
    pub base_timestamp: i64,
    /// Milliseconds.
    pub max_timestamp: i64,
    /// -1 without one.
    pub producer_id: i64,
    /// -1 without one.
    pub producer_epoch: i16,
    /// -1 without one.
    pub base_sequence: i32,
    /// Part of a transaction.
    pub transactional: bool,
    /// A transaction marker.
    pub control: bool,
    /// The checksum matches.
    pub crc_ok: bool,
    /// Its records, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<RecordDump>>,
    /// Why its records could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_error: Option<String>,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RecordDump {
    /// Its offset.
    pub offset: i64,
    /// Milliseconds.
    pub timestamp: i64,
    /// Absent or bytes; JSON has them as text where they are UTF-8, else as hexadecimal digits.
    #[serde(serialize_with = "bytes")]
    pub key: Option<Vec<u8>>,
    /// As the key.
    #[serde(serialize_with = "bytes")]
    pub value: Option<Vec<u8>>,
    /// In order, repeated keys included.
    pub headers: Vec<HeaderDump>,
}

/// One header of a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct HeaderDump {
    /// Its key.
    #[serde(serialize_with = "some_bytes")]
    pub key: Vec<u8>,
    /// As a record's key.
    #[serde(serialize_with = "bytes")]
    pub value: Option<Vec<u8>>,
}

/// One item of a log file.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogDump {
    /// A batch.
    Batch(BatchDump),
    /// What follows is no batch: the dump ends.
    Damage {
        /// Where, in bytes.
        position: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Where a file stops making sense.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DamageDump {
    /// Where, in bytes.
    pub position: u64,
    /// What is wrong.
    pub reason: String,
}

/// One entry of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct IndexDump {
    /// Counted from 0.
    pub number: u64,
    /// Where it stands in the index, in bytes.
    pub position: u64,
    /// What it says; nothing when its checksum does not match, or it is not all there.
    pub entry: Option<IndexEntryDump>,
}

/// What an entry of an index says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct IndexEntryDump {
    /// Base offset of a batch.
    pub base_offset: i64,
    /// Where it starts, in bytes.
    pub position: u64,
    /// Greatest timestamp before it; absent when no batch is.
    pub max_timestamp_before: Option<i64>,
}

/// One producer checkpoint. Its payload is the owner's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ProducersDump {
    /// Where it stands in the file, in bytes.
    pub position: u64,
    /// As of which offset, exclusive.
    pub end_offset: i64,
    /// What the owner gave; nothing when the checksum does not match.
    #[serde(serialize_with = "bytes")]
    pub payload: Option<Vec<u8>>,
}

/// What the store journal says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalDump {
    /// Of the newest run.
    pub incarnation: u64,
    /// Of the newest run.
    pub boot_id: String,
    /// The newest run ended with a clean stop.
    pub clean_stop: bool,
    /// Bytes at the end that a crash tore off.
    pub torn_bytes: u64,
    /// All records, in order, each as one line.
    pub records: Vec<JournalRecordDump>,
    /// What ends the records, where it is no torn end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<DamageDump>,
}

/// One record of the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct JournalRecordDump {
    /// Where its frame starts, in bytes.
    pub position: u64,
    /// `start`, `clean stop`, `promise`, `copy`, `recovery point`, `not whole`, `sealed`, `forgotten`.
    pub kind: &'static str,
    /// The segment or partition it is about.
    pub about: String,
    /// The rest in words.
    pub detail: String,
}

/// Bytes as text where they are UTF-8, else as hexadecimal digits.
fn bytes<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    match bytes {
        None => serializer.serialize_none(),
        Some(bytes) => some_bytes(bytes, serializer),
    }
}

fn some_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => {
            use serde::ser::SerializeMap;
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry("hex", &hex)?;
            map.end()
        }
    }
}

/// What to give of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogDumpOptions {
    /// The records of each batch, too.
    pub records: bool,
    /// Only batches that reach to this offset or beyond.
    pub from: Option<i64>,
}

/// Gives the batches of a log file one by one, until `each` breaks off. A bad checksum is told with its batch; what is no
/// batch ends the dump. The file may lie anywhere and be called anything.
pub fn dump_log(
    fs: &dyn Fs,
    file: &Path,
    options: LogDumpOptions,
    mut each: impl FnMut(LogDump) -> ControlFlow<()>,
) -> Result<(), DumpError> {
    let io_error = |source| DumpError::Io { file: file.display().to_string(), source };
    let log = fs.open(file, OpenMode::Read).map_err(io_error)?;
    let len = log.len().map_err(io_error)?;
    let mut walk = Walk::new(&*log, len);
    let (mut position, mut scratch) = (0, Vec::new());
    while position < len {
        let header = match walk.header_at(position) {
            Ok(header) => header,
            Err(WalkError::Io(source)) => return Err(io_error(source)),
            Err(WalkError::Bad(reason) | WalkError::Incomplete(reason)) => {
                let _ = each(LogDump::Damage { position, reason });
                return Ok(());
            }
        };
        let next = position + header.total_len() as u64;
        if options.from.is_some_and(|from| header.last_offset() < from) {
            position = next;
            continue;
        }
        let crc_ok = match check_crc(&*log, position, &header, &mut scratch) {
            Ok(()) => true,
            Err(WalkError::Io(source)) => return Err(io_error(source)),
            Err(_) => false,
        };
        let mut dump = describe(position, &header, crc_ok);
        if options.records {
            let mut batch = vec![0; header.total_len()];
            read_exact_at(&*log, &mut batch, position).map_err(io_error)?;
            match records(&batch) {
                Ok(records) => dump.records = Some(records),
                Err(reason) => dump.records_error = Some(reason),
            }
        }
        if each(LogDump::Batch(dump)).is_break() {
            return Ok(());
        }
        position = next;
    }
    Ok(())
}

/// Gives the entries of an index one by one, until `each` breaks off. Its name must be the store's: an entry's checksum
/// covers which segment it belongs to. Bytes at the end that are no whole entry are one without content.
pub fn dump_index(
    fs: &dyn Fs,
    file: &Path,
    mut each: impl FnMut(IndexDump) -> ControlFlow<()>,
) -> Result<(), DumpError> {
    let io_error = |source| DumpError::Io { file: file.display().to_string(), source };
    let name = file.file_name().and_then(|n| n.to_str()).and_then(layout::parse_file_name);
    let Some((base_offset, segment, Part::Index)) = name else {
        return Err(DumpError::Name { file: file.display().to_string() });
    };
    let of = IndexOf { segment, base_offset };
    let index = fs.open(file, OpenMode::Read).map_err(io_error)?;
    let len = index.len().map_err(io_error)?;
    for number in 0..len.div_ceil(ENTRY_LEN) {
        let position = number * ENTRY_LEN;
        let entry = if len - position < ENTRY_LEN {
            None
        } else {
            let mut bytes = [0; ENTRY_LEN as usize];
            read_exact_at(&*index, &mut bytes, position).map_err(io_error)?;
            of.decode(number, &bytes).map(|e| IndexEntryDump {
                base_offset: e.offset,
                position: e.position,
                max_timestamp_before: (e.max_before != crate::index::NO_TIMESTAMP).then_some(e.max_before),
            })
        };
        if each(IndexDump { number, position, entry }).is_break() {
            break;
        }
    }
    Ok(())
}

/// The producer checkpoints of a file, and the damage that ends them.
pub fn dump_producers(
    fs: &dyn Fs,
    file: &Path,
) -> Result<(Vec<ProducersDump>, Option<DamageDump>), DumpError> {
    let dump = || -> io::Result<_> {
        let producers = fs.open(file, OpenMode::Read)?;
        let (frames, end) = producers::frames(&*producers)?;
        let payload = |frame: &producers::FrameAt| {
            Ok(ProducersDump {
                position: frame.position,
                end_offset: frame.end_offset,
                payload: producers::payload(&*producers, frame)?,
            })
        };
        let checkpoints: Vec<_> = frames.iter().map(payload).collect::<io::Result<_>>()?;
        let rest = (producers.len()? > end)
            .then(|| DamageDump { position: end, reason: "the bytes from here on are no checkpoint".into() });
        Ok((checkpoints, rest))
    };
    dump().map_err(|source| DumpError::Io { file: file.display().to_string(), source })
}

/// What the store journal of a data folder says; of a damaged one what stands before the damage.
pub fn dump_journal(fs: &dyn Fs, root: &Path) -> Result<JournalDump, DumpError> {
    let (replayed, damage) = match replay(fs, root, None) {
        Ok(replayed) => (replayed, None),
        Err(JournalError::Corrupt { position, reason, .. }) => {
            (replay_before(fs, root, position)?, Some(DamageDump { position, reason }))
        }
        Err(e) => return Err(e.into()),
    };
    Ok(JournalDump {
        incarnation: replayed.state.incarnation,
        boot_id: replayed.state.boot_id,
        clean_stop: replayed.state.clean,
        torn_bytes: replayed.cut.map_or(0, |cut| cut.bytes),
        records: replayed.records.iter().map(|(position, record)| in_words(*position, record)).collect(),
        damage,
    })
}

fn describe(position: u64, header: &BatchHeader, crc_ok: bool) -> BatchDump {
    BatchDump {
        position,
        bytes: header.total_len() as u64,
        base_offset: header.base_offset,
        last_offset: header.last_offset(),
        leader_epoch: header.partition_leader_epoch,
        record_count: header.record_count,
        compression: match header.compression() {
            Ok(compression) => format!("{compression:?}").to_lowercase(),
            Err(_) => (header.attributes & 7).to_string(),
        },
        log_append_time: header.attributes & 8 != 0,
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        transactional: header.is_transactional(),
        control: header.is_control(),
        crc_ok,
        records: None,
        records_error: None,
    }
}

fn records(batch: &[u8]) -> Result<Vec<RecordDump>, String> {
    let records = BatchRecords::open(batch, DECOMPRESSED_MAX).map_err(|e| e.to_string())?;
    let base_offset = records.header().base_offset;
    let mut out = Vec::new();
    for record in records.iter() {
        let record = record.map_err(|e| e.to_string())?;
        out.push(RecordDump {
            offset: base_offset + i64::from(record.offset_delta),
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|h| HeaderDump { key: h.key.to_vec(), value: h.value.map(<[u8]>::to_vec) })
                .collect(),
        });
    }
    Ok(out)
}

fn in_words(position: u64, record: &Record) -> JournalRecordDump {
    let (kind, about, detail) = match record {
        Record::Start { incarnation, boot_id } => {
            ("start", String::new(), format!("incarnation {incarnation}, boot id {boot_id}"))
        }
        Record::CleanStop => ("clean stop", String::new(), String::new()),
        Record::Promise { partition, epoch } => ("promise", partition.to_string(), format!("epoch {epoch}")),
        Record::Copy { segment, copy } => {
            let flag = |set, word: &'static str| if set { word } else { "" };
            let detail = format!(
                "base offset {}, epoch {}, {}{}{}{}, synced to offset {}, byte {}",
                copy.base_offset,
                copy.epoch,
                copy.durability.as_str(),
                flag(!copy.whole, ", not whole"),
                flag(copy.torn, ", perhaps torn"),
                flag(copy.sealed, ", sealed here"),
                copy.synced_offset,
                copy.synced_position
            );
            ("copy", segment.to_string(), detail)
        }
        Record::RecoveryPoint { segment, end_offset, position } => {
            ("recovery point", segment.to_string(), format!("synced to offset {end_offset}, byte {position}"))
        }
        Record::NotWhole { segment } => ("not whole", segment.to_string(), String::new()),
        Record::Sealed { segment, end_offset, position } => {
            ("sealed", segment.to_string(), format!("at offset {end_offset}, byte {position}"))
        }
        Record::Forgotten { segment } => ("forgotten", segment.to_string(), String::new()),
        Record::ForgottenPartition { partition } => ("forgotten", partition.to_string(), String::new()),
    };
    JournalRecordDump { position, kind, about, detail }
}

/// What kind of file a path names, by its ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// Record batches.
    Log,
    /// A sparse index.
    Index,
    /// Producer checkpoints.
    Producers,
    /// The store journal.
    Journal,
}

impl FileKind {
    /// `None`: none of a store's.
    pub fn of(file: &Path) -> Option<FileKind> {
        let name = file.file_name()?.to_str()?;
        // What a repair cut off keeps its old name, with more behind it.
        Some(match (name, name.rsplit_once('.').map(|(_, extension)| extension)) {
            (layout::JOURNAL, _) => FileKind::Journal,
            (_, Some("index")) => FileKind::Index,
            (_, Some("producers")) => FileKind::Producers,
            _ if name.ends_with(".log") || name.contains(".log.from-") => FileKind::Log,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
