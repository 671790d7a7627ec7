//! Sealing a segment and making the next one (design: "Finalize", "Failover", "CreateSegment").

use super::*;

impl Owner {
    /// Freezes the open segment and has its surviving stores sync it.
    pub(super) fn seal(&mut self, now_ms: Millis, reason: SealReason, out: &mut Vec<Action>) {
        let State::Appending(writer) = std::mem::replace(&mut self.state, State::Stopped) else {
            panic!("seal without an open segment");
        };
        let waiting: Vec<NodeId> = writer.surviving().collect();
        if waiting.is_empty() {
            return self.restart("every store of the open segment is lost", out);
        }
        let (_, appended) = writer.ages();
        let active = match reason {
            SealReason::Size | SealReason::Failover | SealReason::Durability => true,
            SealReason::Age => now_ms - appended < RECENT_MS,
            SealReason::Idle | SealReason::StepDown | SealReason::Recovered => false,
        };
        self.producers.expire(now_ms, self.settings.producer_expiry_ms);
        let sealing = Sealing {
            segment: writer.segment(),
            end_offset: writer.appended_offset(),
            reason,
            waiting,
            complete: Vec::new(),
            copy: SealedCopy { bytes: writer.appended_bytes(), max_timestamp: -1 },
            loss: None,
            next: None,
            writer: Some(writer),
        };
        self.start_sealing(sealing, active, out);
    }

    pub(super) fn start_sealing(&mut self, mut sealing: Sealing, with_next: bool, out: &mut Vec<Action>) {
        let producers: Arc<[u8]> = self.producers.encode().into();
        for node in &sealing.waiting {
            out.push(Action::SealCopy {
                node: *node,
                segment: sealing.segment,
                end_offset: sealing.end_offset,
                producers: producers.clone(),
            });
        }
        if with_next {
            sealing.next = self.next_segment(self.chain_end(sealing.end_offset), producers, out);
        }
        self.state = State::Sealing(sealing);
        self.propose_seal(out);
    }

    /// Draws the stores of a new segment and asks them for a copy; `None` when no store of the plan is alive.
    pub(super) fn next_segment(
        &mut self,
        base_offset: i64,
        producers: Arc<[u8]>,
        out: &mut Vec<Action>,
    ) -> Option<NextSegment> {
        let mut stores: Vec<NodeId> = self.plan.iter().copied().filter(|n| self.alive.contains(n)).collect();
        // The owner's own first: its copy serves the reads without a network hop.
        stores.sort_by_key(|n| *n != self.me);
        stores.truncate(self.settings.replicas.max(1));
        if stores.is_empty() {
            return None;
        }
        self.opened += 1;
        let epoch = u64::try_from(self.epoch.0).expect("an epoch is not negative");
        let segment = SegmentId(epoch << 32 | u64::from(self.opened));
        let durability = self.settings.durability;
        for node in &stores {
            let producers = producers.clone();
            out.push(Action::Create { node: *node, segment, base_offset, durability, producers });
        }
        Some(NextSegment { segment, durability, waiting: stores, made: Vec::new() })
    }

    pub(super) fn create(&mut self, out: &mut Vec<Action>) -> Result<(), Refusal> {
        let producers: Arc<[u8]> = self.producers.encode().into();
        let next = self.next_segment(self.sealed_end_offset, producers, out).ok_or(Refusal::NoStore)?;
        self.state = State::Creating { next };
        Ok(())
    }

    /// Answer to [`Action::Create`].
    pub fn on_created(
        &mut self,
        now_ms: Millis,
        node: NodeId,
        segment: SegmentId,
        result: Result<(), StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let next = match &mut self.state {
            State::Creating { next } => next,
            State::Sealing(Sealing { next: Some(next), .. }) => next,
            _ => return,
        };
        if next.segment != segment || !next.waiting.contains(&node) {
            return;
        }
        next.waiting.retain(|n| *n != node);
        match result {
            Ok(()) => next.made.push(node),
            Err(StoreFault::Fenced) => return self.restart("a store promised a higher epoch", out),
            Err(StoreFault::Lost) => {}
        }
        if !next.waiting.is_empty() {
            return;
        }
        let made = !next.made.is_empty();
        match &mut self.state {
            State::Creating { next } if made => {
                let proposal = Proposal::Open(OpenSegment {
                    segment: next.segment,
                    base_offset: self.sealed_end_offset,
                    stores: next.made.clone(),
                    durability: next.durability,
                });
                self.propose(proposal, out);
            }
            State::Creating { .. } => {
                self.state = State::Idle;
                self.refuse_until = now_ms + CREATE_RETRY_MS;
                out.push(Action::Ready);
                self.settle(now_ms, out);
            }
            State::Sealing(sealing) => {
                if !made {
                    sealing.next = None;
                    self.refuse_until = now_ms + CREATE_RETRY_MS;
                }
                self.propose_seal(out);
            }
            _ => unreachable!("matched above"),
        }
    }

    /// Answer to [`Action::SealCopy`].
    pub fn on_sealed_copy(
        &mut self,
        node: NodeId,
        segment: SegmentId,
        result: Result<SealedCopy, StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Sealing(sealing) = &mut self.state else { return };
        if sealing.segment != segment || !sealing.waiting.contains(&node) {
            return;
        }
        sealing.waiting.retain(|n| *n != node);
        match result {
            Ok(copy) => {
                sealing.complete.push(node);
                sealing.copy = copy;
            }
            Err(StoreFault::Fenced) => return self.restart("a store promised a higher epoch", out),
            Err(StoreFault::Lost) => {
                if sealing.complete.is_empty() && sealing.waiting.is_empty() {
                    return self.restart("no store could sync the segment to be sealed", out);
                }
            }
        }
        self.propose_seal(out);
    }

    /// Where the chain ends after a seal at `end_offset`: metadata never lets it end below the log start.
    pub(super) fn chain_end(&self, end_offset: i64) -> i64 {
        end_offset.max(self.log_start_offset)
    }

    /// Proposes the seal once every copy that can be is synced and the next segment's copies are made.
    pub(super) fn propose_seal(&mut self, out: &mut Vec<Action>) {
        let State::Sealing(sealing) = &self.state else { return };
        let next_pending = sealing.next.as_ref().is_some_and(|n| !n.waiting.is_empty());
        if !sealing.waiting.is_empty() || next_pending || self.proposal.is_some() {
            return;
        }
        let proposal = Proposal::Seal {
            segment: sealing.segment,
            end_offset: sealing.end_offset,
            bytes: sealing.copy.bytes,
            max_timestamp: sealing.copy.max_timestamp,
            complete: sealing.complete.clone(),
            loss: sealing.loss,
            next: sealing.next.as_ref().map(|n| OpenSegment {
                segment: n.segment,
                base_offset: self.chain_end(sealing.end_offset),
                stores: n.made.clone(),
                durability: n.durability,
            }),
        };
        self.propose(proposal, out);
    }
}
