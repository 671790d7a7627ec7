//! What a partition remembers of its idempotent producers, and the sequence rules of Kafka.
//!
//! Source: KIP-98 (idempotent producer), KIP-360 (unknown producers may start anywhere), and the behaviour of Kafka
//! 4.x: five batches remembered a producer, a repeated one answered with its first offset, any other sequence refused.

mod load;

use std::collections::BTreeMap;

use buslane_wire::batch::BatchHeader;

use crate::Millis;
pub use load::{LoadedProducers, ProducerHistory, load_producers};

/// Batches remembered for each producer: the most that a client may have in flight with idempotence on.
const REMEMBERED: usize = 5;

/// Producers remembered in one partition, at most. Ids are believed as they are sent, so what a client can make us keep
/// needs a bound; more than this many live producers of one partition are not seen in practice.
const PRODUCERS_MAX: usize = 100_000;

/// Forgotten at once when there would be more: those whose newest batch is the oldest. One in sixteen, so that looking for
/// them costs each new producer no more than a few steps.
const FORGOTTEN_AT_ONCE: usize = PRODUCERS_MAX / 16;

/// Greatest checkpoint, in bytes. A store takes 256 MiB.
const CHECKPOINT_MAX: usize = 5 + PRODUCERS_MAX * (ENTRY_LEN + REMEMBERED * BATCH_LEN);
const _: () = assert!(CHECKPOINT_MAX < 16 << 20, "a checkpoint every 16 MiB must not double what is written");

/// Version of the checkpoint's encoding.
const FORMAT: u8 = 1;

/// Bytes of one producer in a checkpoint, without its batches.
const ENTRY_LEN: usize = 8 + 2 + 8 + 1;

/// Bytes of one remembered batch in a checkpoint.
const BATCH_LEN: usize = 4 + 4 + 8;

/// One remembered batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Remembered {
    last_sequence: i32,
    /// Records in the batch less one.
    delta: i32,
    last_offset: i64,
}

impl Remembered {
    fn first_sequence(&self) -> i32 {
        step_sequence(self.last_sequence, -i64::from(self.delta))
    }

    fn base_offset(&self) -> i64 {
        self.last_offset - i64::from(self.delta)
    }
}

/// Sequences run from 0 to `i32::MAX` and start again at 0.
fn step_sequence(sequence: i32, by: i64) -> i32 {
    (i64::from(sequence) + by).rem_euclid(1 << 31) as i32
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Producer {
    epoch: i16,
    /// When the newest batch was appended.
    touched_ms: Millis,
    /// Oldest first, at least one, at most [`REMEMBERED`].
    batches: Vec<Remembered>,
}

impl Producer {
    fn last(&self) -> &Remembered {
        self.batches.last().expect("a producer is entered with its first batch")
    }
}

/// What the sequence of a batch says about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SequenceCheck {
    /// New: append it, then call [`ProducerTable::record`].
    Fresh,
    /// Already appended: answer with these offsets once they are committed, append nothing.
    Duplicate {
        /// Offset of the first record of the stored batch.
        base_offset: i64,
        /// Offset of its last record.
        last_offset: i64,
    },
}

/// A producer as DescribeProducers tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerView {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of the last record that it wrote.
    pub last_sequence: i32,
    /// When it wrote last.
    pub touched_ms: Millis,
}

/// Why a batch's producer fields are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SequenceError {
    /// The producer was fenced by a newer run of itself (INVALID_PRODUCER_EPOCH).
    #[error("producer {producer_id} has epoch {got}, but epoch {current} was seen")]
    StaleEpoch {
        /// The producer.
        producer_id: i64,
        /// Epoch in the batch.
        got: i16,
        /// Newest epoch seen.
        current: i16,
    },
    /// A batch is missing or repeated too late (OUT_OF_ORDER_SEQUENCE_NUMBER).
    #[error("producer {producer_id} sent sequence {got}, expected {expected}")]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// First sequence in the batch.
        got: i32,
        /// The only one that would be accepted.
        expected: i32,
    },
}

/// Why a checkpoint cannot be read. The caller falls back to an older one or to a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer program.
    #[error("producer checkpoint has format {0}, this program knows {FORMAT}")]
    Format(u8),
    /// Shorter or longer than its counts say.
    #[error("producer checkpoint is malformed at byte {0}")]
    Malformed(usize),
}

/// The producers of one partition. Deterministic; iteration is by producer id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProducerTable {
    producers: BTreeMap<i64, Producer>,
}

impl ProducerTable {
    /// Number of producers remembered.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// True when no producer is remembered.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Those that wrote within `expiry_ms`, by id.
    pub fn active(&self, now_ms: Millis, expiry_ms: i64) -> impl Iterator<Item = ProducerView> {
        let active = move |p: &Producer| now_ms.saturating_sub(p.touched_ms) <= expiry_ms;
        self.producers.iter().filter(move |(_, p)| active(p)).map(|(id, p)| ProducerView {
            id: *id,
            epoch: p.epoch,
            last_sequence: p.last().last_sequence,
            touched_ms: p.touched_ms,
        })
    }

    /// Judges a batch's producer id, epoch and sequence. A batch without a producer id is always fresh. A producer that
    /// wrote nothing for `expiry_ms` counts as unknown and may start at any sequence.
    pub fn check(
        &self,
        now_ms: Millis,
        expiry_ms: i64,
        header: &BatchHeader,
    ) -> Result<SequenceCheck, SequenceError> {
        let Some(known) = self.producers.get(&header.producer_id) else {
            return Ok(SequenceCheck::Fresh);
        };
        if header.producer_id < 0 || now_ms.saturating_sub(known.touched_ms) > expiry_ms {
            return Ok(SequenceCheck::Fresh);
        }
        let producer_id = header.producer_id;
        if header.producer_epoch < known.epoch {
            return Err(SequenceError::StaleEpoch {
                producer_id,
                got: header.producer_epoch,
                current: known.epoch,
            });
        }
        if header.producer_epoch > known.epoch {
            return if header.base_sequence == 0 {
                Ok(SequenceCheck::Fresh)
            } else {
                Err(SequenceError::OutOfOrder { producer_id, got: header.base_sequence, expected: 0 })
            };
        }
        let expected = step_sequence(known.last().last_sequence, 1);
        if header.base_sequence == expected {
            return Ok(SequenceCheck::Fresh);
        }
        let repeated = known
            .batches
            .iter()
            .find(|b| b.first_sequence() == header.base_sequence && b.delta == header.last_offset_delta);
        match repeated {
            Some(batch) => Ok(SequenceCheck::Duplicate {
                base_offset: batch.base_offset(),
                last_offset: batch.last_offset,
            }),
            None => Err(SequenceError::OutOfOrder { producer_id, got: header.base_sequence, expected }),
        }
    }

    /// Enters an appended batch; `header` carries its final base offset. Replaying a log in offset order gives the same
    /// table as the appends gave, apart from `touched_ms`. A producer too many makes the table forget those that wrote
    /// nothing for longest, as if they had expired.
    pub fn record(&mut self, now_ms: Millis, header: &BatchHeader) {
        if header.producer_id < 0 || header.base_sequence < 0 {
            return;
        }
        let batch = Remembered {
            last_sequence: step_sequence(header.base_sequence, i64::from(header.last_offset_delta)),
            delta: header.last_offset_delta,
            last_offset: header.base_offset + i64::from(header.last_offset_delta),
        };
        let producer = self.producers.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            touched_ms: now_ms,
            batches: Vec::with_capacity(1),
        });
        let continues = producer.epoch == header.producer_epoch
            && producer
                .batches
                .last()
                .is_some_and(|last| step_sequence(last.last_sequence, 1) == header.base_sequence);
        if !continues {
            // A new epoch, or a producer that was forgotten and starts anywhere: what came before no longer counts.
            producer.batches.clear();
        }
        if producer.batches.len() == REMEMBERED {
            producer.batches.remove(0);
        }
        producer.batches.push(batch);
        producer.epoch = header.producer_epoch;
        producer.touched_ms = now_ms;
        self.bound();
    }

    /// Keeps to [`PRODUCERS_MAX`]. By offsets, which tell who wrote last whatever the clocks said, so that a replay forgets
    /// the same ones.
    fn bound(&mut self) {
        if self.producers.len() <= PRODUCERS_MAX {
            return;
        }
        let excess = self.producers.len() - PRODUCERS_MAX + FORGOTTEN_AT_ONCE;
        let mut offsets: Vec<i64> = self.producers.values().map(|p| p.last().last_offset).collect();
        let (_, kept_from, _) = offsets.select_nth_unstable(excess);
        let kept_from = *kept_from;
        self.producers.retain(|_, p| p.last().last_offset >= kept_from);
        // Two with the same offset are in a damaged checkpoint only.
        while self.producers.len() > PRODUCERS_MAX {
            self.producers.pop_first();
        }
    }

    /// Forgets producers that wrote nothing for `expiry_ms`.
    pub fn expire(&mut self, now_ms: Millis, expiry_ms: i64) {
        self.producers.retain(|_, p| now_ms.saturating_sub(p.touched_ms) <= expiry_ms);
    }

    /// The checkpoint: `format u8, count u32`, then for each producer `id i64, epoch i16, touched_ms i64, batches u8`
    /// and for each batch `last sequence i32, delta i32, last offset i64`; big-endian. The store adds the CRC.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(5 + self.producers.len() * (ENTRY_LEN + REMEMBERED * BATCH_LEN));
        out.push(FORMAT);
        out.extend_from_slice(&(self.producers.len() as u32).to_be_bytes());
        for (id, producer) in &self.producers {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&producer.epoch.to_be_bytes());
            out.extend_from_slice(&producer.touched_ms.to_be_bytes());
            out.push(producer.batches.len() as u8);
            for batch in &producer.batches {
                out.extend_from_slice(&batch.last_sequence.to_be_bytes());
                out.extend_from_slice(&batch.delta.to_be_bytes());
                out.extend_from_slice(&batch.last_offset.to_be_bytes());
            }
        }
        out
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<ProducerTable, DecodeError> {
        let mut input = Input { bytes, at: 0 };
        let format = u8::from_be_bytes(input.take()?);
        if format != FORMAT {
            return Err(DecodeError::Format(format));
        }
        let count = u32::from_be_bytes(input.take()?);
        let mut producers = BTreeMap::new();
        for _ in 0..count {
            let id = i64::from_be_bytes(input.take()?);
            let epoch = i16::from_be_bytes(input.take()?);
            let touched_ms = i64::from_be_bytes(input.take()?);
            let n = usize::from(u8::from_be_bytes(input.take()?));
            if n == 0 || n > REMEMBERED {
                return Err(DecodeError::Malformed(input.at));
            }
            let mut batches = Vec::with_capacity(n);
            for _ in 0..n {
                let batch = Remembered {
                    last_sequence: i32::from_be_bytes(input.take()?),
                    delta: i32::from_be_bytes(input.take()?),
                    last_offset: i64::from_be_bytes(input.take()?),
                };
                if batch.last_sequence < 0 || batch.delta < 0 || batch.last_offset < i64::from(batch.delta) {
                    return Err(DecodeError::Malformed(input.at));
                }
                batches.push(batch);
            }
            producers.insert(id, Producer { epoch, touched_ms, batches });
        }
        if input.at != bytes.len() {
            return Err(DecodeError::Malformed(input.at));
        }
        let mut table = ProducerTable { producers };
        // Written before there was a bound.
        table.bound();
        Ok(table)
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let got = self.bytes.get(self.at..self.at + N).ok_or(DecodeError::Malformed(self.at))?;
        self.at += N;
        Ok(got.try_into().expect("the range has N bytes"))
    }
}

#[cfg(test)]
mod tests;
