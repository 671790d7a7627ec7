//! One batch: which of its records go, and what is left of it.

use buslane_wire::batch::{
    BatchBuilder, BatchHeader, BatchRecords, BuildError, Decompressor, NewRecord, Record, RecordError,
    RecordHeader, TimestampType,
};

use super::CleanRules;
use super::table::OffsetTable;

/// Why nothing is known, or left, of a batch.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Its records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// What is left of it cannot be written.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It is part of a transaction; there are none here, so nobody knows how that ended.
    #[error("it is part of a transaction")]
    Transactional,
}

/// Reads batches and writes what is left of them, again and again with the same buffers.
#[derive(Debug)]
pub(super) struct Filter {
    rules: CleanRules,
    decompressor: Decompressor,
    builder: BatchBuilder,
    /// Of the records of the batch at hand.
    kept: Vec<bool>,
}

impl Filter {
    pub(super) fn new(rules: CleanRules) -> Filter {
        Filter {
            rules,
            decompressor: Decompressor::new(),
            builder: BatchBuilder::default(),
            kept: Vec::new(),
        }
    }

    pub(super) fn rules(&self) -> &CleanRules {
        &self.rules
    }

    /// Enters a batch's keys; false when the table is full. Those that were entered before that are no harm: what they
    /// supersede is superseded, and nothing at or beyond this batch goes.
    pub(super) fn enter(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        table: &mut OffsetTable,
    ) -> Result<bool, Unfit> {
        if header.is_control() {
            return Ok(true);
        }
        if header.is_transactional() {
            return Err(Unfit::Transactional);
        }
        let records = self.decompressor.records(bytes, self.rules.batch_bytes_max)?;
        for record in records.iter() {
            let record = record?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            if let Some(key) = record.key
                && !table.put(key, offset)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends what is left of a batch to `out`, and returns its header; nothing when all of it goes. Where no record is
    /// left the header alone stays, if it is to.
    pub(super) fn clean(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        table: &OffsetTable,
        mapped_end: i64,
        keep_header: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<BatchHeader>, Unfit> {
        let verbatim = |out: &mut Vec<u8>| {
            out.extend_from_slice(bytes);
            Ok(Some(*header))
        };
        if header.is_control() || header.base_offset >= mapped_end {
            return verbatim(out);
        }
        let Filter { rules, decompressor, builder, kept } = self;
        let records = decompressor.records(bytes, rules.batch_bytes_max)?;
        let horizon_passed = header.delete_horizon().is_some_and(|horizon| horizon <= rules.now_ms);
        kept.clear();
        let mut tombstones = false;
        for record in records.iter() {
            let record = record?;
            let stays = stays(header, &record, table, horizon_passed);
            tombstones |= stays && record.value.is_none();
            kept.push(stays);
        }
        if !kept.contains(&true) {
            if !keep_header {
                return Ok(None);
            }
            let emptied = if header.record_count == 0 { *header } else { header.emptied() };
            out.extend_from_slice(&emptied.encode());
            return Ok(Some(emptied));
        }
        // The first pass that keeps a tombstone says until when (KIP-534).
        let wants_horizon = tombstones && header.delete_horizon().is_none();
        if !wants_horizon && !kept.contains(&false) {
            return verbatim(out);
        }
        let new_horizon = wants_horizon.then(|| rules.now_ms.saturating_add(rules.delete_retention_ms));
        let horizon = header.delete_horizon().or(new_horizon);
        let mut has_horizon = horizon.is_some();
        if fill(builder, &records, kept, horizon.unwrap_or(header.base_timestamp)).is_err() {
            // Too far from the horizon to be counted from it: such a tombstone stays until its batch's records are others.
            has_horizon = false;
            let base_timestamp = match header.timestamp_type() {
                TimestampType::CreateTime => header.base_timestamp,
                TimestampType::LogAppendTime => header.max_timestamp,
            };
            fill(builder, &records, kept, base_timestamp)?;
        }
        Ok(Some(builder.rebuild(header, has_horizon, out)?))
    }
}

/// Adds the records that are kept to the builder, counted from `base_timestamp`.
fn fill(
    builder: &mut BatchBuilder,
    records: &BatchRecords<'_>,
    kept: &[bool],
    base_timestamp: i64,
) -> Result<(), Unfit> {
    builder.clear();
    builder.count_from(base_timestamp);
    for (record, _) in records.iter().zip(kept).filter(|(_, kept)| **kept) {
        let Record { offset_delta, timestamp, key, value, headers } = record?;
        let headers: Vec<RecordHeader<'_>> = headers.iter().collect();
        builder.add_at(offset_delta, &NewRecord { timestamp, key, value, headers: &headers })?;
    }
    Ok(())
}

fn stays(header: &BatchHeader, record: &Record<'_>, table: &OffsetTable, horizon_passed: bool) -> bool {
    // Nobody can ever ask for it to go, or tell what it is the newest of.
    let Some(key) = record.key else { return false };
    let offset = header.base_offset + i64::from(record.offset_delta);
    // Of a key that is not there nothing newer was found.
    let newest = table.get(key).is_none_or(|newest| offset >= newest);
    newest && !(record.value.is_none() && horizon_passed)
}
