//! The way of one member from what it has to what it is to have.
//!
//! Each member moves at its own pace, in this order: give up what the target does not have, say so, then take what is
//! free. A partition is free when no member has it assigned or pending revocation, so it is never granted before its old
//! owner has said that it gave it up, or was removed. Source: KIP-848, "Group and Member State Machine"; behaviour of
//! Kafka 4.4.

use buslane_wire::ids::TopicId;

use super::fact::{CurrentAssignment, MemberState};
use super::partitions::{HeldPartitions, Partitions};

/// What a member is reconciled to.
pub(super) struct Goal<'a> {
    /// The epoch of the target.
    pub target_epoch: i32,
    /// The target.
    pub target: &'a Partitions,
    /// True for a topic that the member wants. The target may be older than the subscription: what the member no longer
    /// wants is taken from it at once.
    pub wants: &'a dyn Fn(TopicId) -> bool,
    /// True when no other member has the partition.
    pub is_free: &'a dyn Fn(TopicId, i32) -> bool,
    /// What the member says it holds; `None` when it did not say.
    pub owned: Option<&'a Partitions>,
}

/// The member's next assignment; `None` when it cannot move.
///
/// # Errors
/// [`MustRejoin`] for a member in a state that this version does not know and that still holds, or may hold, partitions.
pub(super) fn reconcile(
    current: &CurrentAssignment,
    goal: &Goal<'_>,
) -> Result<Option<CurrentAssignment>, MustRejoin> {
    let next = match current.state {
        MemberState::Stable if current.member_epoch == goal.target_epoch => drop_unwanted(current, goal),
        MemberState::UnrevokedPartitions if still_holds(goal, &current.pending_revocation) => {
            drop_unwanted(current, goal)
        }
        MemberState::Unknown if goal.owned.is_none_or(|owned| !owned.is_empty()) => return Err(MustRejoin),
        MemberState::Stable
        | MemberState::UnrevokedPartitions
        | MemberState::UnreleasedPartitions
        | MemberState::Unknown => Some(advance(current, goal)),
    };
    Ok(next.filter(|next| next != current))
}

/// The member has to give up everything and rejoin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MustRejoin;

/// True unless the member has said that it holds none of these.
fn still_holds(goal: &Goal<'_>, partitions: &HeldPartitions) -> bool {
    goal.owned.is_none_or(|owned| partitions.intersects(owned))
}

/// Towards the target as far as it goes.
fn advance(current: &CurrentAssignment, goal: &Goal<'_>) -> CurrentAssignment {
    let mut assigned = HeldPartitions::new();
    let mut pending_revocation = HeldPartitions::new();
    for (topic, partition, epoch) in current.assigned.iter() {
        let stays = goal.target.contains(topic, partition) && (goal.wants)(topic);
        let into = if stays { &mut assigned } else { &mut pending_revocation };
        into.insert(topic, partition, epoch);
    }

    if !pending_revocation.is_empty() && still_holds(goal, &pending_revocation) {
        return CurrentAssignment {
            state: MemberState::UnrevokedPartitions,
            assigned,
            pending_revocation,
            ..current.clone()
        };
    }

    let mut waiting = false;
    for (topic, partitions) in goal.target.topics().filter(|(topic, _)| (goal.wants)(*topic)) {
        for &partition in partitions {
            if assigned.contains(topic, partition) {
                continue;
            }
            // What it was told to give up is its own, and by now given up: it may have it back.
            if (goal.is_free)(topic, partition) {
                assigned.insert(topic, partition, goal.target_epoch);
            } else {
                waiting = true;
            }
        }
    }
    let state = if waiting { MemberState::UnreleasedPartitions } else { MemberState::Stable };
    CurrentAssignment { state, assigned, pending_revocation: HeldPartitions::new(), ..current.clone() }
        .at_epoch(goal.target_epoch)
}

/// Takes from the member what it no longer wants, without a step towards the target.
fn drop_unwanted(current: &CurrentAssignment, goal: &Goal<'_>) -> Option<CurrentAssignment> {
    if current.assigned.topics().all(|(topic, _)| (goal.wants)(topic)) {
        return None;
    }
    let mut assigned = HeldPartitions::new();
    let mut pending_revocation = current.pending_revocation.clone();
    for (topic, partition, epoch) in current.assigned.iter() {
        let into = if (goal.wants)(topic) { &mut assigned } else { &mut pending_revocation };
        into.insert(topic, partition, epoch);
    }
    if still_holds(goal, &pending_revocation) {
        let state = MemberState::UnrevokedPartitions;
        Some(CurrentAssignment { state, assigned, pending_revocation, ..current.clone() })
    } else {
        // It has given them up already.
        let pending_revocation = current.pending_revocation.clone();
        Some(CurrentAssignment { assigned, pending_revocation, ..current.clone() })
    }
}

impl CurrentAssignment {
    /// The same at another epoch. The epoch it leaves is remembered as the previous one: the member carries that one
    /// when the answer is lost. Staying at an epoch forgets nothing (Kafka overwrites the previous epoch then, and
    /// fences a member that loses two answers in a row).
    fn at_epoch(self, epoch: i32) -> CurrentAssignment {
        if epoch == self.member_epoch {
            return self;
        }
        CurrentAssignment { member_epoch: epoch, previous_member_epoch: self.member_epoch, ..self }
    }

    /// True when the member has all of the target of this epoch.
    pub fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == target_epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TopicId = TopicId([1; 16]);
    const U: TopicId = TopicId([2; 16]);

    fn set(partitions: &[i32]) -> Partitions {
        partitions.iter().map(|partition| (T, *partition)).collect()
    }

    fn held(partitions: &[i32], epoch: i32) -> HeldPartitions {
        HeldPartitions::given(&set(partitions), epoch)
    }

    fn at(epoch: i32, state: MemberState, assigned: &[i32], pending: &[i32]) -> CurrentAssignment {
        CurrentAssignment {
            member_epoch: epoch,
            previous_member_epoch: epoch - 1,
            state,
            assigned: held(assigned, epoch),
            pending_revocation: held(pending, epoch),
        }
    }

    fn step(
        current: &CurrentAssignment,
        target_epoch: i32,
        target: &[i32],
        taken: &[i32],
        owned: Option<&[i32]>,
    ) -> Option<CurrentAssignment> {
        let (target, owned) = (set(target), owned.map(set));
        let goal = Goal {
            target_epoch,
            target: &target,
            wants: &|topic| topic == T,
            is_free: &|_, partition| !taken.contains(&partition),
            owned: owned.as_ref(),
        };
        reconcile(current, &goal).unwrap()
    }

    #[test]
    fn a_new_member_takes_what_is_free_and_waits_for_the_rest() {
        let next = step(&CurrentAssignment::fresh(), 3, &[0, 1], &[1], Some(&[])).unwrap();
        assert_eq!((next.member_epoch, next.previous_member_epoch), (3, 0));
        assert_eq!(next.state, MemberState::UnreleasedPartitions);
        assert_eq!(next.assigned, held(&[0], 3));
        assert_eq!(step(&next, 3, &[0, 1], &[1], None), None, "nothing has changed");
        let last = step(&next, 3, &[0, 1], &[], None).unwrap();
        assert_eq!(last.state, MemberState::Stable);
        assert_eq!(last.assigned, held(&[0, 1], 3));
    }

    #[test]
    fn a_member_gives_up_before_it_advances() {
        let member = at(3, MemberState::Stable, &[0, 1, 2], &[]);
        let next = step(&member, 4, &[2, 3], &[], None).unwrap();
        assert_eq!(next.state, MemberState::UnrevokedPartitions);
        assert_eq!(next.member_epoch, 3, "it has not yet reached the target");
        assert_eq!(
            (next.assigned.partitions(), next.pending_revocation.partitions()),
            (set(&[2]), set(&[0, 1]))
        );
        assert_eq!(step(&next, 4, &[2, 3], &[], None), None, "it did not say what it holds");
        assert_eq!(step(&next, 4, &[2, 3], &[], Some(&[0, 2])), None, "it still holds one of them");
        let last = step(&next, 4, &[2, 3], &[], Some(&[2])).unwrap();
        assert_eq!((last.member_epoch, last.previous_member_epoch), (4, 3));
        assert_eq!(last.state, MemberState::Stable);
        assert_eq!(last.assigned.iter().collect::<Vec<_>>(), [(T, 2, 3), (T, 3, 4)]);
    }

    #[test]
    fn what_the_member_does_not_hold_needs_no_revocation() {
        let member = at(3, MemberState::Stable, &[0, 1], &[]);
        let next = step(&member, 4, &[1], &[], Some(&[1])).unwrap();
        assert_eq!(next.state, MemberState::Stable);
        assert_eq!(next.assigned.partitions(), set(&[1]));
    }

    #[test]
    fn a_newer_target_may_give_back_what_was_given_up() {
        let member = at(3, MemberState::UnrevokedPartitions, &[], &[0]);
        let next = step(&member, 5, &[0], &[], Some(&[])).unwrap();
        assert_eq!((next.member_epoch, next.state), (5, MemberState::Stable));
        assert_eq!(next.assigned, held(&[0], 5));
    }

    #[test]
    fn revocations_follow_one_another_at_one_epoch() {
        let member = at(3, MemberState::UnrevokedPartitions, &[1, 2], &[0]);
        let next = step(&member, 5, &[2], &[], Some(&[1, 2])).unwrap();
        assert_eq!((next.member_epoch, next.previous_member_epoch), (3, 2));
        assert_eq!(next.pending_revocation.partitions(), set(&[1]));
    }

    #[test]
    fn an_unwanted_topic_goes_at_once() {
        let mut member = at(3, MemberState::Stable, &[0], &[]);
        member.assigned.insert(U, 0, 3);
        let next = step(&member, 3, &[0], &[], None).unwrap();
        assert_eq!((next.member_epoch, next.state), (3, MemberState::UnrevokedPartitions));
        assert_eq!(next.pending_revocation.iter().collect::<Vec<_>>(), [(U, 0, 3)]);
        let told = step(&member, 3, &[0], &[], Some(&[0])).unwrap();
        assert_eq!((told.state, told.assigned.partitions()), (MemberState::Stable, set(&[0])));
    }

    #[test]
    fn a_target_older_than_the_subscription_gives_nothing_unwanted() {
        // U/0 is held and U/1 is free, and the target has both, but the member no longer wants U.
        let mut member = at(3, MemberState::UnreleasedPartitions, &[0], &[]);
        member.assigned.insert(U, 0, 3);
        let mut target = set(&[0, 1]);
        target.insert(U, 0);
        target.insert(U, 1);
        let try_with = |owned: Option<Partitions>| {
            let goal = Goal {
                target_epoch: 3,
                target: &target,
                wants: &|topic| topic == T,
                is_free: &|_, _| true,
                owned: owned.as_ref(),
            };
            reconcile(&member, &goal).unwrap().unwrap()
        };
        let next = try_with(None);
        assert_eq!(next.state, MemberState::UnrevokedPartitions);
        assert_eq!(next.pending_revocation.iter().collect::<Vec<_>>(), [(U, 0, 3)]);
        let next = try_with(Some(set(&[0])));
        assert_eq!((next.state, next.assigned.partitions()), (MemberState::Stable, set(&[0, 1])));
    }

    #[test]
    fn a_state_from_the_future_needs_a_rejoin() {
        let member = at(3, MemberState::Unknown, &[0], &[]);
        let target = set(&[0, 1]);
        let try_with = |owned: Option<Partitions>| {
            let goal = Goal {
                target_epoch: 4,
                target: &target,
                wants: &|_| true,
                is_free: &|_, _| true,
                owned: owned.as_ref(),
            };
            reconcile(&member, &goal)
        };
        assert_eq!(try_with(None), Err(MustRejoin));
        assert_eq!(try_with(Some(set(&[0]))), Err(MustRejoin));
        let next = try_with(Some(Partitions::new())).unwrap().unwrap();
        assert_eq!((next.state, next.member_epoch), (MemberState::Stable, 4));
    }
}
