//! Recovery: from the reports of a segment's stores to its seal (design: "Recover").

use super::*;

impl Owner {
    /// The operator's word that the silent stores of the segment being recovered will not come back.
    pub fn accept_loss(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        if let State::Recovering(r) = &mut self.state {
            r.accept_loss = true;
            self.weigh(now_ms, out);
        }
    }

    /// The stores that recovery waits for; empty when it waits for none.
    pub fn waiting_for(&self) -> Vec<NodeId> {
        match &self.state {
            State::Recovering(r) if r.sealing.is_none() => {
                match judge(&r.open.stores, r.open.base_offset, &r.reports, r.accept_loss) {
                    Verdict::Wait(nodes) => nodes,
                    Verdict::Enough { .. } => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// Answer to [`Action::Recover`]. A store that is only down now is not reported: it is asked again when it is back.
    pub fn on_report(
        &mut self,
        now_ms: Millis,
        node: NodeId,
        segment: SegmentId,
        report: Result<Report, StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Recovering(r) = &mut self.state else { return };
        if r.sealing.is_some() || r.open.segment != segment {
            return;
        }
        match report {
            Err(StoreFault::Fenced) => self.restart("a store promised a higher epoch", out),
            // An error is no answer: the store's copy may hold what nobody else has.
            Err(StoreFault::Lost) => {}
            Ok(report) => {
                r.reports.retain(|(n, _)| *n != node);
                r.reports.push((node, report));
                self.weigh(now_ms, out);
            }
        }
    }

    /// Looks whether the reports suffice, and starts to complete the copies when they do.
    pub(super) fn weigh(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        let State::Recovering(r) = &mut self.state else { return };
        if r.sealing.is_some() {
            return;
        }
        let Verdict::Enough { source, end_offset, loss } =
            judge(&r.open.stores, r.open.base_offset, &r.reports, r.accept_loss)
        else {
            return;
        };
        let all_in = r.open.stores.iter().all(|s| r.reports.iter().any(|(n, _)| n == s));
        if !all_in && !r.accept_loss {
            // The more copies are completed now, the fewer have to be repaired later.
            let until = *r.grace_until.get_or_insert(now_ms + RECOVERY_GRACE_MS);
            if now_ms < until {
                return;
            }
        }
        let segment = r.open.segment;
        let mut copying = Vec::new();
        let mut holders = Vec::new();
        for (node, report) in &r.reports {
            let from_offset = match report {
                Report::Copy { end_offset: end, .. } if *end == end_offset => {
                    holders.push(*node);
                    continue;
                }
                Report::Copy { end_offset: end, .. } => Some(*end),
                Report::Missing => None,
            };
            if let Some(source) = source {
                copying.push(*node);
                out.push(Action::CopyTail { segment, source, target: *node, from_offset, end_offset });
            }
        }
        out.push(Action::LoadProducers { from: source.map(|s| (segment, s)), end_offset });
        r.sealing = Some(RecoveredEnd {
            end_offset,
            loss,
            copying,
            holders,
            producers_loaded: false,
            last_append_ms: Millis::MIN,
        });
    }

    /// Answer to [`Action::CopyTail`].
    pub fn on_copied(
        &mut self,
        now_ms: Millis,
        target: NodeId,
        segment: SegmentId,
        result: Result<(), StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Recovering(Recovering { open, sealing: Some(end), .. }) = &mut self.state else { return };
        if open.segment != segment || !end.copying.contains(&target) {
            return;
        }
        end.copying.retain(|n| *n != target);
        match result {
            Ok(()) => end.holders.push(target),
            Err(StoreFault::Fenced) => return self.restart("a store promised a higher epoch", out),
            Err(StoreFault::Lost) => {}
        }
        self.seal_recovered(now_ms, out);
    }

    /// Answer to [`Action::LoadProducers`]: the table, and the newest batch's time (`Millis::MIN` when unknown).
    pub fn on_producers(
        &mut self,
        now_ms: Millis,
        loaded: Result<(ProducerTable, Millis), StoreFault>,
        out: &mut Vec<Action>,
    ) {
        let State::Recovering(Recovering { sealing: Some(end), .. }) = &mut self.state else { return };
        match loaded {
            Ok((table, last_append_ms)) => {
                self.producers = table;
                self.producers.expire(now_ms, self.settings.producer_expiry_ms);
                end.producers_loaded = true;
                end.last_append_ms = last_append_ms;
                self.seal_recovered(now_ms, out);
            }
            Err(_) => self.restart("the producers' state could not be read", out),
        }
    }

    /// Recovery's last step: every copy that can be completed is, the producers are known.
    pub(super) fn seal_recovered(&mut self, now_ms: Millis, out: &mut Vec<Action>) {
        let State::Recovering(Recovering { open, sealing: Some(end), .. }) = &mut self.state else { return };
        if !end.producers_loaded || !end.copying.is_empty() {
            return;
        }
        if open.stores.is_empty() {
            // Nothing was open.
            self.state = State::Idle;
            out.push(Action::Committed(self.committed_offset));
            return self.settle(now_ms, out);
        }
        let (segment, end_offset) = (open.segment, end.end_offset);
        let empty = end.holders.is_empty();
        let loss = end.loss.then_some(Loss { epoch: open.epoch, end_offset });
        if empty {
            assert_eq!(
                end_offset, open.base_offset,
                "no store holds segment {segment}, so it ends at its base"
            );
        }
        let recent = now_ms.saturating_sub(end.last_append_ms) < RECENT_MS && !self.stepping_down;
        let waiting = std::mem::take(&mut end.holders);
        let sealing = Sealing {
            segment,
            end_offset,
            reason: SealReason::Recovered,
            waiting,
            complete: Vec::new(),
            copy: SealedCopy { bytes: 0, max_timestamp: -1 },
            loss,
            next: None,
            writer: None,
        };
        self.start_sealing(sealing, recent, out);
    }
}
