//! The text form: one line for each thing, records set in below their batch.

use std::io::{self, Write};

use buslane_log::dump::{
    BatchDump, IndexEntryDump, JournalDump, JournalRecordDump, ProducersDump, RecordDump,
};
use buslane_meta::OfflineEntry;

use super::command::Named;
use super::{LossLine, PartitionLine};
use crate::record_json::to_hex;
use crate::units::format_time;

pub(super) fn batch(out: &mut impl Write, batch: &BatchDump) -> io::Result<()> {
    write!(
        out,
        "byte {}: offsets {} to {}, {} {}, {} bytes, epoch {}, {}",
        batch.position,
        batch.base_offset,
        batch.last_offset,
        batch.record_count,
        if batch.record_count == 1 { "record" } else { "records" },
        batch.bytes,
        batch.leader_epoch,
        if batch.compression == "none" { "uncompressed" } else { &batch.compression }
    )?;
    let stamped = if batch.log_append_time { "appended" } else { "created" };
    write!(out, ", {stamped} {}", format_time(batch.base_timestamp))?;
    if batch.max_timestamp != batch.base_timestamp {
        write!(out, " to {}", format_time(batch.max_timestamp))?;
    }
    if batch.producer_id >= 0 {
        let BatchDump { producer_id, producer_epoch, base_sequence, .. } = batch;
        write!(out, ", producer {producer_id} epoch {producer_epoch} sequence {base_sequence}")?;
    }
    for (set, word) in [(batch.transactional, ", transactional"), (batch.control, ", control")] {
        out.write_all(if set { word.as_bytes() } else { b"" })?;
    }
    out.write_all(b"\n")
}

pub(super) fn record(out: &mut impl Write, record: &RecordDump) -> io::Result<()> {
    let (key, value) = (shown(record.key.as_deref()), shown(record.value.as_deref()));
    write!(out, "  offset {}, {}, key {key}, value {value}", record.offset, format_time(record.timestamp))?;
    for (number, header) in record.headers.iter().enumerate() {
        let before = if number == 0 { ", headers " } else { ", " };
        write!(out, "{before}{}={}", String::from_utf8_lossy(&header.key), shown(header.value.as_deref()))?;
    }
    out.write_all(b"\n")
}

/// Text in quotes with what cannot be printed escaped, other bytes in hexadecimal.
fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(text))) => format!("{text:?}"),
        Some((bytes, Err(_))) => format!("0x{}", to_hex(bytes)),
    }
}

pub(super) fn index_entry(out: &mut impl Write, number: u64, entry: &IndexEntryDump) -> io::Result<()> {
    write!(out, "entry {number}: offset {} at byte {}", entry.base_offset, entry.position)?;
    match entry.max_timestamp_before {
        Some(timestamp) => writeln!(out, ", greatest time before {}", format_time(timestamp)),
        None => writeln!(out),
    }
}

pub(super) fn producers(out: &mut impl Write, checkpoint: &ProducersDump) -> io::Result<()> {
    write!(out, "byte {}: producers as of offset {}", checkpoint.position, checkpoint.end_offset)?;
    match &checkpoint.payload {
        Some(payload) => writeln!(out, ", {} bytes", payload.len()),
        None => writeln!(out),
    }
}

pub(super) fn journal_record(out: &mut impl Write, record: &JournalRecordDump) -> io::Result<()> {
    write!(out, "byte {}: {}", record.position, record.kind)?;
    if !record.about.is_empty() {
        write!(out, " {}", record.about)?;
    }
    if !record.detail.is_empty() {
        write!(out, ": {}", record.detail)?;
    }
    out.write_all(b"\n")
}

pub(super) fn journal(out: &mut impl Write, journal: &JournalDump) -> io::Result<()> {
    let JournalDump { incarnation, boot_id, torn_bytes, .. } = journal;
    let stop = if journal.clean_stop { "stopped in order" } else { "not stopped in order" };
    write!(out, "newest run: incarnation {incarnation}, boot id {boot_id}, {stop}")?;
    if *torn_bytes > 0 {
        write!(out, "; {torn_bytes} bytes at the end are torn, as a crash leaves it")?;
    }
    out.write_all(b"\n")
}

pub(super) fn entry(out: &mut impl Write, entry: &OfflineEntry, commands: &[Named]) -> io::Result<()> {
    if commands.is_empty() {
        return writeln!(out, "entry {}, term {}: the consensus group's own", entry.index, entry.term);
    }
    commands.iter().try_for_each(|command| {
        writeln!(out, "entry {}, term {}: {}", entry.index, entry.term, command.text())
    })
}

pub(super) fn partition(out: &mut impl Write, line: &PartitionLine) -> io::Result<()> {
    let owner = line.owner.map_or_else(|| "none".to_owned(), |owner| owner.to_string());
    let PartitionLine { topic, topic_id, partition, epoch, log_start_offset, .. } = line;
    writeln!(
        out,
        "topic {topic} ({topic_id}), partition {partition}: owner {owner}, epoch {epoch}, log start {log_start_offset}"
    )?;
    for segment in &line.segments {
        write!(out, "  segment {}: from offset {}", segment.id, segment.base_offset)?;
        match (segment.end_offset, segment.bytes) {
            (Some(end), Some(bytes)) => write!(out, " to {end} (exclusive), {bytes} bytes, sealed")?,
            _ => write!(out, ", open")?,
        }
        let stores: Vec<_> = segment.stores.iter().map(i32::to_string).collect();
        writeln!(out, ", epoch {}, {}, stores {}", segment.epoch, segment.durability, stores.join(","))?;
    }
    for loss in &line.losses {
        let LossLine { epoch, end_offset } = loss;
        writeln!(
            out,
            "  loss: records of epoch {epoch} from offset {end_offset} on may be gone though they were acknowledged"
        )?;
    }
    Ok(())
}
