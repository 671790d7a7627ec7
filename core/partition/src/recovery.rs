//! Which reports of an open segment's stores suffice to seal it.
//!
//! Source: design/core.md, Recover. Every batch was acknowledged by all stores of the segment, so one whole copy has
//! all that was acknowledged; and when every store answered, nobody knows more, so the rest is a recorded loss.

use buslane_wire::ids::NodeId;

/// What a store says of its copy, after it durably promised the new epoch (FenceBeforeRead).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// It has a copy: a prefix of what the owner wrote (Prefix).
    Copy {
        /// End of the last whole batch, exclusive.
        end_offset: i64,
        /// Nothing acknowledged can be missing from this copy (WholeIsSticky).
        whole: bool,
    },
    /// It answered, and has none. Copies are made before a segment is opened, so this one was lost.
    Missing,
}

/// The outcome of weighing the reports that are in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The segment can be sealed at `end_offset`.
    Enough {
        /// The store with the longest copy; none when no store has one (the segment is empty, `end_offset` its base).
        source: Option<NodeId>,
        /// Where the longest copy ends.
        end_offset: i64,
        /// True when something acknowledged may lie beyond the end: the chain records it.
        loss: bool,
    },
    /// These stores have to answer first; an operator may accept the loss instead.
    Wait(Vec<NodeId>),
}

/// Weighs the reports of an open segment that starts at `base_offset` on `stores`.
///
/// `accept_loss` is the operator's word that the silent stores will not come back.
pub fn judge(
    stores: &[NodeId],
    base_offset: i64,
    reports: &[(NodeId, Report)],
    accept_loss: bool,
) -> Verdict {
    let silent: Vec<NodeId> =
        stores.iter().copied().filter(|s| !reports.iter().any(|(node, _)| node == s)).collect();
    let any_whole = reports.iter().any(|(_, r)| matches!(r, Report::Copy { whole: true, .. }));
    if !any_whole && !silent.is_empty() && !accept_loss {
        return Verdict::Wait(silent);
    }
    // The longest report, not any: a shorter whole copy cannot exist beside a longer acknowledged one, but a longer
    // copy may hold batches that were acknowledged with acks=1.
    let longest = reports
        .iter()
        .filter_map(|(node, r)| match r {
            Report::Copy { end_offset, .. } => Some((*end_offset, *node)),
            Report::Missing => None,
        })
        .max_by_key(|(end, node)| (*end, std::cmp::Reverse(*node)));
    match longest {
        Some((end_offset, source)) => {
            assert!(
                end_offset >= base_offset,
                "copy on {source} ends at {end_offset}, below its base {base_offset}"
            );
            Verdict::Enough { source: Some(source), end_offset, loss: !any_whole }
        }
        None => Verdict::Enough { source: None, end_offset: base_offset, loss: true },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn copy(end_offset: i64, whole: bool) -> Report {
        Report::Copy { end_offset, whole }
    }

    #[test]
    fn one_whole_copy_is_enough_while_the_other_store_is_silent() {
        let verdict = judge(&[A, B], 10, &[(A, copy(15, true))], false);
        assert_eq!(verdict, Verdict::Enough { source: Some(A), end_offset: 15, loss: false });
    }

    #[test]
    fn a_copy_that_is_not_whole_waits_for_the_silent_store() {
        assert_eq!(judge(&[A, B], 10, &[(A, copy(15, false))], false), Verdict::Wait(vec![B]));
        let accepted = judge(&[A, B], 10, &[(A, copy(15, false))], true);
        assert_eq!(accepted, Verdict::Enough { source: Some(A), end_offset: 15, loss: true });
    }

    #[test]
    fn the_longest_report_is_taken_whole_or_not() {
        let verdict = judge(&[A, B], 10, &[(A, copy(15, true)), (B, copy(20, false))], false);
        assert_eq!(verdict, Verdict::Enough { source: Some(B), end_offset: 20, loss: false });
    }

    #[test]
    fn when_all_answered_and_none_is_whole_the_loss_is_recorded() {
        let verdict = judge(&[A, B], 10, &[(A, copy(12, false)), (B, copy(11, false))], false);
        assert_eq!(verdict, Verdict::Enough { source: Some(A), end_offset: 12, loss: true });
        let gone = judge(&[A], 10, &[(A, Report::Missing)], false);
        assert_eq!(gone, Verdict::Enough { source: None, end_offset: 10, loss: true });
    }
}
