//! An idempotent producer of one partition: sends in order, retries until it is told that all stores have it.

use std::collections::VecDeque;

use super::RunId;
use crate::batches::{Producer, batch};
use crate::rng::Rng;

/// Batches on their way.
const IN_FLIGHT: usize = 4;

/// What became of a batch that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    /// Not sent, or to an owner that is gone.
    No,
    /// Placed there, or found there as a duplicate: acknowledged once the owner has committed up to `end_offset`.
    At { base_offset: i64, end_offset: i64 },
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// As sent: base offset 0.
    pub(super) bytes: Vec<u8>,
    pub(super) producer: Producer,
    pub(super) sent: Sent,
}

#[derive(Debug)]
pub(super) struct Producing {
    id: i64,
    next_sequence: i32,
    pub(super) pending: VecDeque<Pending>,
    /// The owner it talks to.
    pub(super) run: Option<RunId>,
    rng: Rng,
}

impl Producing {
    pub(super) fn new(id: i64, rng: Rng) -> Producing {
        Producing { id, next_sequence: 0, pending: VecDeque::new(), run: None, rng }
    }

    pub(super) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(super) fn produce(&mut self) {
        if self.pending.len() < IN_FLIGHT {
            let producer = Producer { id: self.id, epoch: 0, base_sequence: self.next_sequence };
            let body = self.rng.below(1_200) as usize;
            let bytes = batch(&mut self.rng, producer, body);
            let header = buslane_wire::batch::BatchHeader::parse(&bytes).expect("it was just built");
            self.next_sequence += header.record_count;
            self.pending.push_back(Pending { bytes, producer, sent: Sent::No });
        }
    }

    /// From now on it talks to this owner, and sends everything again.
    pub(super) fn turn_to(&mut self, run: RunId) {
        if self.run != Some(run) {
            self.run = Some(run);
            self.pending.iter_mut().for_each(|pending| pending.sent = Sent::No);
        }
    }

    pub(super) fn run_ended(&mut self, run: RunId) {
        if self.run == Some(run) {
            self.run = None;
            self.pending.iter_mut().for_each(|pending| pending.sent = Sent::No);
        }
    }

    /// After a loss its sequences are not known any more: it goes on as another producer (KIP-360).
    pub(super) fn start_over(&mut self) {
        self.id += 100;
        self.next_sequence = 0;
        let bodies: Vec<usize> = self.pending.iter().map(|pending| pending.bytes.len()).collect();
        self.pending.clear();
        for _ in bodies {
            self.produce();
        }
    }
}
