//! The facts that the store journal holds, and their bytes.
//!
//! A record is `kind u8` and its fields, big-endian. A frame is `length u32, crc32c u32, durable u64, records`: the
//! length and the checksum cover `durable` and the records. `durable` is how much of the file was known to be synced
//! when the frame was written: a bad frame below it, seen from a later good one, is corruption and not a torn tail.

use buslane_wire::ids::{Durability, LeaderEpoch, SegmentId, SegmentRef, TopicId, TopicPartition};

/// Bytes in front of a frame's records.
pub(crate) const FRAME_HEAD: usize = 16;

/// One durable fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A process run of this store began.
    Start {
        /// Rises by one at each start, from 1.
        incarnation: u64,
        /// The kernel's boot id, or whatever changes when unsynced bytes may have been lost.
        boot_id: String,
    },
    /// Everything was synced and nothing was written after it, until the next start.
    CleanStop,
    /// Nothing of a lower epoch is accepted for the partition.
    Promise {
        /// The partition.
        partition: TopicPartition,
        /// The lowest epoch accepted.
        epoch: LeaderEpoch,
    },
    /// All that is known of an unsettled copy: written when it is made, and for each copy when the journal is rewritten.
    Copy {
        /// The segment.
        segment: SegmentRef,
        /// What is known.
        copy: CopyState,
    },
    /// The copy is synced up to here.
    RecoveryPoint {
        /// The segment.
        segment: SegmentRef,
        /// Offset, exclusive.
        end_offset: i64,
        /// Bytes of the log file.
        position: u64,
    },
    /// Something acknowledged may be missing from the copy.
    NotWhole {
        /// The segment.
        segment: SegmentRef,
    },
    /// The copy is synced and takes no more appends. Says nothing of the chain.
    Sealed {
        /// The segment.
        segment: SegmentRef,
        /// Where it ends, exclusive.
        end_offset: i64,
        /// Bytes of the log file.
        position: u64,
    },
    /// The chain has sealed or dropped the segment: nothing more needs to be known.
    Forgotten {
        /// The segment.
        segment: SegmentRef,
    },
    /// The partition was deleted for ever.
    ForgottenPartition {
        /// The partition.
        partition: TopicPartition,
    },
}

/// What the journal knows of a copy whose segment is not yet sealed in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyState {
    /// Offset of the segment's first record.
    pub base_offset: i64,
    /// Epoch it was opened in.
    pub epoch: LeaderEpoch,
    /// When an append to it counts as stored.
    pub durability: Durability,
    /// Nothing acknowledged can be missing from it (WholeIsSticky).
    pub whole: bool,
    /// A machine crash happened while it was not sealed: bytes beyond the recovery point may be torn.
    pub torn: bool,
    /// Sealed on this store.
    pub sealed: bool,
    /// Offset below which everything is synced, exclusive.
    pub synced_offset: i64,
    /// Bytes of the log file that are synced.
    pub synced_position: u64,
}

impl CopyState {
    /// A copy just made.
    pub fn new(base_offset: i64, epoch: LeaderEpoch, durability: Durability) -> CopyState {
        CopyState {
            base_offset,
            epoch,
            durability,
            whole: true,
            torn: false,
            sealed: false,
            synced_offset: base_offset,
            synced_position: 0,
        }
    }
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("record kind {0} is unknown or cut short")]
pub(crate) struct BadRecord(pub(crate) u8);

fn put_partition(out: &mut Vec<u8>, partition: &TopicPartition) {
    out.extend_from_slice(&partition.topic.0);
    out.extend_from_slice(&partition.partition.to_be_bytes());
}

fn put_segment(out: &mut Vec<u8>, segment: &SegmentRef) {
    put_partition(out, &segment.partition);
    out.extend_from_slice(&segment.segment.0.to_be_bytes());
}

impl Record {
    /// Appends the record's bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Record::Start { incarnation, boot_id } => {
                let boot = &boot_id.as_bytes()[..boot_id.len().min(255)];
                out.push(1);
                out.extend_from_slice(&incarnation.to_be_bytes());
                out.push(boot.len() as u8);
                out.extend_from_slice(boot);
            }
            Record::CleanStop => out.push(2),
            Record::Promise { partition, epoch } => {
                out.push(3);
                put_partition(out, partition);
                out.extend_from_slice(&epoch.0.to_be_bytes());
            }
            Record::Copy { segment, copy } => {
                out.push(4);
                put_segment(out, segment);
                out.extend_from_slice(&copy.base_offset.to_be_bytes());
                out.extend_from_slice(&copy.epoch.0.to_be_bytes());
                let synced = copy.durability == Durability::Synced;
                out.push(
                    u8::from(synced)
                        | u8::from(copy.whole) << 1
                        | u8::from(copy.torn) << 2
                        | u8::from(copy.sealed) << 3,
                );
                out.extend_from_slice(&copy.synced_offset.to_be_bytes());
                out.extend_from_slice(&copy.synced_position.to_be_bytes());
            }
            Record::RecoveryPoint { segment, end_offset, position } => {
                out.push(5);
                put_segment(out, segment);
                out.extend_from_slice(&end_offset.to_be_bytes());
                out.extend_from_slice(&position.to_be_bytes());
            }
            Record::NotWhole { segment } => {
                out.push(6);
                put_segment(out, segment);
            }
            Record::Sealed { segment, end_offset, position } => {
                out.push(7);
                put_segment(out, segment);
                out.extend_from_slice(&end_offset.to_be_bytes());
                out.extend_from_slice(&position.to_be_bytes());
            }
            Record::Forgotten { segment } => {
                out.push(8);
                put_segment(out, segment);
            }
            Record::ForgottenPartition { partition } => {
                out.push(9);
                put_partition(out, partition);
            }
        }
    }

    /// Takes one record off the front of `input`.
    pub(crate) fn decode(input: &mut &[u8]) -> Result<Record, BadRecord> {
        let kind = take::<1>(input).map_or(0, |[kind]| kind);
        Record::decode_body(kind, input).ok_or(BadRecord(kind))
    }

    fn decode_body(kind: u8, input: &mut &[u8]) -> Option<Record> {
        Some(match kind {
            1 => {
                let incarnation = u64::from_be_bytes(take(input)?);
                let [len] = take(input)?;
                let (boot, rest) = input.split_at_checked(usize::from(len))?;
                *input = rest;
                Record::Start { incarnation, boot_id: std::str::from_utf8(boot).ok()?.to_owned() }
            }
            2 => Record::CleanStop,
            3 => Record::Promise { partition: take_partition(input)?, epoch: take_epoch(input)? },
            4 => Record::Copy { segment: take_segment(input)?, copy: take_copy(input)? },
            5 => Record::RecoveryPoint {
                segment: take_segment(input)?,
                end_offset: i64::from_be_bytes(take(input)?),
                position: u64::from_be_bytes(take(input)?),
            },
            6 => Record::NotWhole { segment: take_segment(input)? },
            7 => Record::Sealed {
                segment: take_segment(input)?,
                end_offset: i64::from_be_bytes(take(input)?),
                position: u64::from_be_bytes(take(input)?),
            },
            8 => Record::Forgotten { segment: take_segment(input)? },
            9 => Record::ForgottenPartition { partition: take_partition(input)? },
            _ => return None,
        })
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

fn take_epoch(input: &mut &[u8]) -> Option<LeaderEpoch> {
    Some(LeaderEpoch(i32::from_be_bytes(take(input)?)))
}

fn take_partition(input: &mut &[u8]) -> Option<TopicPartition> {
    Some(TopicPartition { topic: TopicId(take(input)?), partition: i32::from_be_bytes(take(input)?) })
}

fn take_segment(input: &mut &[u8]) -> Option<SegmentRef> {
    Some(SegmentRef {
        partition: take_partition(input)?,
        segment: SegmentId(u64::from_be_bytes(take(input)?)),
    })
}

fn take_copy(input: &mut &[u8]) -> Option<CopyState> {
    let base_offset = i64::from_be_bytes(take(input)?);
    let epoch = take_epoch(input)?;
    let [flags] = take(input)?;
    if flags > 15 {
        return None;
    }
    Some(CopyState {
        base_offset,
        epoch,
        durability: if flags & 1 != 0 { Durability::Synced } else { Durability::Replicated },
        whole: flags & 2 != 0,
        torn: flags & 4 != 0,
        sealed: flags & 8 != 0,
        synced_offset: i64::from_be_bytes(take(input)?),
        synced_position: u64::from_be_bytes(take(input)?),
    })
}

/// Appends a frame of the given record bytes.
pub(crate) fn put_frame(out: &mut Vec<u8>, durable: u64, records: &[u8]) {
    let len = u32::try_from(8 + records.len()).expect("a frame of journal records stays far below 4 GiB");
    let crc = crc32c::crc32c_append(crc32c::crc32c(&durable.to_be_bytes()), records);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(&durable.to_be_bytes());
    out.extend_from_slice(records);
}

/// Why there is no frame at the front of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BadFrame {
    /// The bytes end inside it.
    Short,
    /// Length or checksum is wrong.
    Bad,
}

/// The frame at the front of `bytes`: its `durable`, its records, its size.
pub(crate) fn frame_at(bytes: &[u8]) -> Result<(u64, &[u8], usize), BadFrame> {
    let head = bytes.first_chunk::<FRAME_HEAD>().ok_or(BadFrame::Short)?;
    let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let crc = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if len < 9 {
        return Err(BadFrame::Bad);
    }
    let covered = bytes[8..].get(..len).ok_or(BadFrame::Short)?;
    if crc32c::crc32c(covered) != crc {
        return Err(BadFrame::Bad);
    }
    let durable = u64::from_be_bytes(*covered.first_chunk().expect("at least nine bytes"));
    Ok((durable, &covered[8..], 8 + len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> Vec<Record> {
        let partition = TopicPartition { topic: TopicId([7; 16]), partition: 3 };
        let segment = SegmentRef { partition, segment: SegmentId(1 << 40) };
        let mut copy = CopyState::new(100, LeaderEpoch(4), Durability::Synced);
        copy.torn = true;
        vec![
            Record::Start { incarnation: 9, boot_id: "boot".into() },
            Record::CleanStop,
            Record::Promise { partition, epoch: LeaderEpoch(5) },
            Record::Copy { segment, copy },
            Record::RecoveryPoint { segment, end_offset: 120, position: 4000 },
            Record::NotWhole { segment },
            Record::Sealed { segment, end_offset: 130, position: 5000 },
            Record::Forgotten { segment },
            Record::ForgottenPartition { partition },
        ]
    }

    #[test]
    fn records_and_frames_round_trip() {
        let mut bytes = Vec::new();
        samples().iter().for_each(|r| r.encode(&mut bytes));
        let mut framed = Vec::new();
        put_frame(&mut framed, 77, &bytes);
        let (durable, mut records, size) = frame_at(&framed).unwrap();
        assert_eq!((durable, size), (77, framed.len()));
        let mut back = Vec::new();
        while !records.is_empty() {
            back.push(Record::decode(&mut records).unwrap());
        }
        assert_eq!(back, samples());
        for cut in 0..framed.len() {
            assert_eq!(frame_at(&framed[..cut]), Err(BadFrame::Short));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = frame_at(&bytes);
            let _ = Record::decode(&mut &bytes[..]);
        }
    }
}
