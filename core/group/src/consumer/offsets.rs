//! Whether a member may commit or fetch offsets (KIP-848, KIP-1251).

use buslane_wire::ids::TopicId;

use super::error::GroupError;
use super::group::{ConsumerGroup, Member};

/// The first version of OffsetCommit that has member epochs.
const FIRST_COMMIT_VERSION_WITH_EPOCHS: i16 = 9;

/// Who commits.
#[derive(Clone, Copy, Debug)]
pub struct Committer<'a> {
    /// The member's id; empty for none.
    pub member_id: &'a str,
    /// The name of a static member.
    pub instance_id: Option<&'a str>,
    /// The member's epoch, a classic member's generation; -1 for none.
    pub member_epoch: i32,
    /// The version of OffsetCommit; `None` for TxnOffsetCommit.
    pub commit_version: Option<i16>,
}

/// A commit that is not refused as a whole.
#[derive(Clone, Copy, Debug)]
pub struct CommitCheck<'a> {
    /// The member, when its epoch is older than the group's and each partition is to be looked at.
    lagging: Option<(&'a Member, i32)>,
}

impl ConsumerGroup {
    /// Checks a commit. Each of its partitions is then to be checked with [`CommitCheck::partition`]; Kafka refuses the
    /// whole request when one of them fails.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], [`GroupError::StaleMemberEpoch`] or, of a classic member,
    /// [`GroupError::IllegalGeneration`]; [`GroupError::UnsupportedVersion`].
    pub fn check_commit(&self, who: Committer<'_>) -> Result<CommitCheck<'_>, GroupError> {
        let anyone = CommitCheck { lagging: None };
        // A tool, or a consumer that assigns itself: only into a group that nobody is in.
        if who.member_epoch < 0 && self.members().is_empty() {
            return Ok(anyone);
        }
        let transactional = who.commit_version.is_none();
        if transactional && who.member_epoch == -1 && who.member_id.is_empty() && who.instance_id.is_none() {
            return Ok(anyone);
        }
        let member = self.known(who.member_id)?;
        if !member.is_classic()
            && who.commit_version.is_some_and(|version| version < FIRST_COMMIT_VERSION_WITH_EPOCHS)
        {
            return Err(GroupError::UnsupportedVersion);
        }
        match who.member_epoch.cmp(&member.current.member_epoch) {
            std::cmp::Ordering::Equal => Ok(anyone),
            std::cmp::Ordering::Greater => Err(stale(member, who.member_epoch)),
            std::cmp::Ordering::Less => Ok(CommitCheck { lagging: Some((member, who.member_epoch)) }),
        }
    }

    /// Checks a fetch of offsets by a member; `None` for a tool.
    ///
    /// # Errors
    /// As [`ConsumerGroup::check_commit`].
    pub fn check_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), GroupError> {
        let Some(member_id) = member_id else {
            return if member_epoch < 0 {
                Ok(())
            } else {
                Err(self.unknown("A member without id".to_string()))
            };
        };
        let member = self.known(member_id)?;
        if member_epoch == member.current.member_epoch { Ok(()) } else { Err(stale(member, member_epoch)) }
    }
}

impl CommitCheck<'_> {
    /// Whether an offset of this partition may be committed: the member carries its epoch, or has had the partition since
    /// the epoch it carries.
    ///
    /// # Errors
    /// [`GroupError::StaleMemberEpoch`] or, of a classic member, [`GroupError::IllegalGeneration`].
    pub fn partition(&self, topic: TopicId, partition: i32) -> Result<(), GroupError> {
        let Some((member, received)) = self.lagging else { return Ok(()) };
        let current = &member.current;
        let since = current
            .assigned
            .epoch_of(topic, partition)
            .or_else(|| current.pending_revocation.epoch_of(topic, partition));
        match since {
            Some(since) if since <= received => Ok(()),
            _ => Err(stale(member, received)),
        }
    }
}

fn stale(member: &Member, received: i32) -> GroupError {
    let known = member.current.member_epoch;
    if member.is_classic() {
        GroupError::IllegalGeneration { received, known }
    } else {
        GroupError::StaleMemberEpoch { received, known }
    }
}
