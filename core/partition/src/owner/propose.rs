//! Proposals to the metadata, one at a time, and what follows when they are committed.

use super::*;

impl Owner {
    pub(super) fn propose(&mut self, proposal: Proposal, out: &mut Vec<Action>) {
        assert!(self.proposal.is_none(), "one proposal at a time");
        self.proposal = Some(proposal.clone());
        out.push(Action::Propose(proposal));
    }

    /// Answer to [`Action::Propose`].
    pub fn on_proposed(&mut self, now_ms: Millis, outcome: ProposalOutcome, out: &mut Vec<Action>) {
        let Some(proposal) = self.proposal.take() else { return };
        let (view, refused) = match outcome {
            ProposalOutcome::Committed => return self.on_committed(now_ms, &proposal, out),
            ProposalOutcome::Unknown(view) => (view, false),
            ProposalOutcome::Refused(view) => (view, true),
        };
        if view.epoch != self.epoch {
            assert!(view.epoch > self.epoch, "epoch {} fell to {}", self.epoch, view.epoch);
            return self.fence();
        }
        if happened(&proposal, &view, self.log_start_offset) {
            return self.on_committed(now_ms, &proposal, out);
        }
        if refused {
            return self.restart("metadata refused the change of the chain", out);
        }
        self.propose(proposal, out);
    }

    pub(super) fn on_committed(&mut self, now_ms: Millis, proposal: &Proposal, out: &mut Vec<Action>) {
        match (std::mem::replace(&mut self.state, State::Idle), proposal) {
            (State::Creating { .. }, Proposal::Open(open)) => {
                self.state = State::Appending(self.opened_writer(now_ms, open));
            }
            (State::Sealing(_), Proposal::Seal { end_offset, next, .. }) => {
                // Only a seal with a recorded loss, by a new owner, may end below what an earlier owner committed.
                assert!(
                    *end_offset >= self.committed_offset,
                    "sealed at {end_offset}, below the committed {}",
                    self.committed_offset
                );
                self.sealed_end_offset = self.chain_end(*end_offset);
                self.committed_offset = self.sealed_end_offset;
                out.push(Action::Committed(self.committed_offset));
                if let Some(open) = next {
                    self.state = State::Appending(self.opened_writer(now_ms, open));
                }
            }
            (state, proposal) => panic!("{proposal:?} committed in state {state:?}"),
        }
        self.settle(now_ms, out);
    }
}

/// Whether the image shows the effect of a proposal that was made with this log start.
fn happened(proposal: &Proposal, view: &ChainView, log_start_offset: i64) -> bool {
    let open = view.open.as_ref().map(|o| o.segment);
    match proposal {
        Proposal::Open(o) => open == Some(o.segment),
        Proposal::Seal { segment, end_offset, next, .. } => {
            view.sealed_end_offset == (*end_offset).max(log_start_offset)
                && open != Some(*segment)
                && open == next.as_ref().map(|n| n.segment)
        }
    }
}
