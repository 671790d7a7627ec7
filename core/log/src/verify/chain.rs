//! What the cluster's metadata says of the copies that should be here. The caller reads it: this crate knows no metadata.

use std::collections::BTreeMap;

use buslane_wire::ids::{Durability, LeaderEpoch, SegmentRef};

use super::copy::Cut;
use super::{Finding, Severity, Verify, VerifyError};
use crate::journal::record::CopyState;
use crate::layout::{self, Part};
use crate::store::FoundCopy;

/// The segments of all chains. One that is not in it is not wanted any more, or not yet.
pub type Chain = BTreeMap<SegmentRef, ChainSegment>;

/// One segment of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainSegment {
    /// Offset of its first record.
    pub base_offset: i64,
    /// The epoch at its base offset: its batches have none below.
    pub first_epoch: LeaderEpoch,
    /// Epoch it was opened in.
    pub epoch: LeaderEpoch,
    /// When an append to it counts as stored.
    pub durability: Durability,
    /// Where it ends; nothing while it is open.
    pub sealed: Option<SealedEnd>,
    /// This store is one of those that have it.
    pub here: bool,
}

/// Where a sealed segment ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedEnd {
    /// Exclusive.
    pub end_offset: i64,
    /// Bytes of the log file.
    pub bytes: u64,
}

/// What a copy has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// A prefix of a segment that is not sealed in the chain, of which the journal knows this.
    Open(CopyState),
    /// All of a sealed segment: its end, and the first and last epoch it may have, from the chain, where that is known.
    Sealed(Option<(SealedEnd, [LeaderEpoch; 2])>),
    /// Nothing: nobody counts on it.
    Unwanted,
}

/// What a copy has to be. Without a chain the journal tells: it knows every copy that is not sealed.
pub(super) fn role(chain: Option<&Chain>, journal: Option<CopyState>, copy: &FoundCopy, live: bool) -> Role {
    let Some(chain) = chain else { return journal.map_or(Role::Sealed(None), Role::Open) };
    let known = chain.get(&copy.segment).filter(|s| s.base_offset == copy.base_offset && s.here);
    match (known, known.and_then(|s| s.sealed), journal) {
        (None, ..) => Role::Unwanted,
        (Some(segment), Some(end), _) => Role::Sealed(Some((end, [segment.first_epoch, segment.epoch]))),
        (Some(_), None, Some(state)) => Role::Open(state),
        // Sealed since the chain was read.
        (Some(_), None, None) if live => Role::Sealed(None),
        (Some(segment), None, None) => {
            // Its record was lost in a machine crash, as recovery sees it.
            let mut state = CopyState::new(segment.base_offset, segment.epoch, segment.durability);
            (state.whole, state.torn) = (false, true);
            Role::Open(state)
        }
    }
}

impl Verify<'_> {
    /// Copies that the chain counts on and that are not there. One that is open and given up is returned, to be
    /// cut at its start.
    pub(super) fn missing(
        &mut self,
        chain: &Chain,
        copies: &[FoundCopy],
        journal: &BTreeMap<SegmentRef, CopyState>,
    ) -> Result<Vec<Cut>, VerifyError> {
        let mut given_up = Vec::new();
        // Beside a server the chain may be older than the files.
        if self.live {
            return Ok(given_up);
        }
        for (segment, known) in chain.iter().filter(|(_, known)| known.here) {
            let there = |c: &FoundCopy| c.segment == *segment && c.base_offset == known.base_offset;
            if copies.iter().any(there) {
                continue;
            }
            let path = layout::part(self.root, segment, known.base_offset, Part::Log);
            let back = "bring it back from another store or from a backup";
            let remedy = match known.sealed {
                Some(_) => back.to_owned(),
                None => format!(
                    "{back}; or give it up with --repair --accept-loss: the chain will record a loss from offset {} on",
                    known.base_offset
                ),
            };
            let finding = Finding {
                severity: Severity::Damage,
                file: path.clone(),
                position: None,
                what: "it is missing, and the metadata counts on it".to_owned(),
                remedy,
                repaired: None,
            };
            if known.sealed.is_some() || !self.accept_loss {
                self.find(finding);
                continue;
            }
            let state = journal.get(segment).copied();
            given_up.push(Cut {
                copy: FoundCopy { segment: *segment, base_offset: known.base_offset, path },
                state: state.unwrap_or(CopyState::new(known.base_offset, known.epoch, known.durability)),
                end_offset: known.base_offset,
                position: 0,
                torn: false,
                finding,
            });
        }
        Ok(given_up)
    }

    /// A copy that nobody counts on.
    pub(super) fn unwanted(&mut self, copy: &FoundCopy) {
        // Beside a running server it is perhaps about to be opened.
        if self.live {
            return;
        }
        self.find(Finding {
            severity: Severity::Note,
            file: copy.path.clone(),
            position: None,
            what: "the metadata does not count on this copy".to_owned(),
            remedy:
                "none: its segment was removed or never opened, and the server moves the copy to orphans/"
                    .to_owned(),
            repaired: None,
        });
    }
}
