//! Why a consumer group refuses a request.

use buslane_wire::ErrorCode;

/// A refusal. Its display is the error message of the answer; nothing has changed in the group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The request contradicts itself; sending it again does not help.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// No group has this id, and the request does not create one.
    #[error("Group {group_id} not found.")]
    GroupIdNotFound {
        /// The id.
        group_id: String,
    },
    /// The group has no such member: it was removed, or never was. The member rejoins with epoch 0.
    #[error("{who} is not a member of group {group_id}.")]
    UnknownMemberId {
        /// The group.
        group_id: String,
        /// The member, by its id or its name.
        who: String,
    },
    /// The member's epoch cannot be brought in line with the group's. It gives up everything and rejoins with epoch 0.
    #[error(
        "The member carries epoch {received}, the coordinator knows {known}. The member must abandon all its \
         partitions and rejoin."
    )]
    FencedMemberEpoch {
        /// What the request carried.
        received: i32,
        /// What was expected.
        known: i32,
    },
    /// Another member goes by this name and has not left.
    #[error(
        "Static member {member_id} cannot join: the instance id {instance_id} is held by member {holder}."
    )]
    UnreleasedInstanceId {
        /// Who asks.
        member_id: String,
        /// The name.
        instance_id: String,
        /// Who has it.
        holder: String,
    },
    /// Another member has taken this name over.
    #[error("Static member {member_id} with instance id {instance_id} was fenced by member {holder}.")]
    FencedInstanceId {
        /// Who asks.
        member_id: String,
        /// The name.
        instance_id: String,
        /// Who has it.
        holder: String,
    },
    /// The broker does not offer this assignor.
    #[error("ServerAssignor {asked} is not supported. Supported assignors: {offered}.")]
    UnsupportedAssignor {
        /// What was asked for.
        asked: String,
        /// What there is, with commas between.
        offered: String,
    },
    /// The pattern does not parse, or is too costly.
    #[error("SubscribedTopicRegex `{regex}` is not a valid regular expression: {reason}.")]
    InvalidRegularExpression {
        /// The pattern.
        regex: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are as many members as may be.
    #[error("The consumer group has reached its maximum capacity of {max_size} members.")]
    GroupMaxSizeReached {
        /// How many may be.
        max_size: usize,
    },
    /// An offset request of a consumer member carries an epoch that is not the member's. It heartbeats and tries again.
    #[error("The received member epoch {received} does not match the expected member epoch {known}.")]
    StaleMemberEpoch {
        /// What the request carried.
        received: i32,
        /// What was expected.
        known: i32,
    },
    /// A classic member's generation is not its epoch.
    #[error("The received generation id {received} does not match the expected member epoch {known}.")]
    IllegalGeneration {
        /// What the request carried.
        received: i32,
        /// What was expected.
        known: i32,
    },
    /// A consumer member commits with a version that has no member epochs.
    #[error("OffsetCommit version 9 or above must be used by members using the consumer protocol.")]
    UnsupportedVersion,
    /// A classic member speaks of a protocol that the group does not use, or shares none with the others.
    #[error("The protocol of classic member {member_id} does not fit the group's.")]
    InconsistentGroupProtocol {
        /// The member.
        member_id: String,
    },
    /// A classic member must rejoin, there is a newer assignment.
    #[error("A new rebalance is triggered in group {group_id} and the member should rejoin to catch up.")]
    RebalanceInProgress {
        /// The group.
        group_id: String,
    },
    /// A classic group cannot become a consumer group.
    #[error("Cannot upgrade classic group {group_id} to consumer group because {reason}.")]
    MigrationRefused {
        /// The group.
        group_id: String,
        /// Why.
        reason: String,
    },
    /// A group with members is not deleted.
    #[error("The group has members.")]
    NonEmptyGroup,
}

impl GroupError {
    /// Kafka's code for it.
    pub fn code(&self) -> ErrorCode {
        match self {
            GroupError::InvalidRequest(_) => ErrorCode::INVALID_REQUEST,
            GroupError::GroupIdNotFound { .. } | GroupError::MigrationRefused { .. } => {
                ErrorCode::GROUP_ID_NOT_FOUND
            }
            GroupError::UnknownMemberId { .. } => ErrorCode::UNKNOWN_MEMBER_ID,
            GroupError::FencedMemberEpoch { .. } => ErrorCode::FENCED_MEMBER_EPOCH,
            GroupError::UnreleasedInstanceId { .. } => ErrorCode::UNRELEASED_INSTANCE_ID,
            GroupError::FencedInstanceId { .. } => ErrorCode::FENCED_INSTANCE_ID,
            GroupError::UnsupportedAssignor { .. } => ErrorCode::UNSUPPORTED_ASSIGNOR,
            GroupError::InvalidRegularExpression { .. } => ErrorCode::INVALID_REGULAR_EXPRESSION,
            GroupError::GroupMaxSizeReached { .. } => ErrorCode::GROUP_MAX_SIZE_REACHED,
            GroupError::StaleMemberEpoch { .. } => ErrorCode::STALE_MEMBER_EPOCH,
            GroupError::IllegalGeneration { .. } => ErrorCode::ILLEGAL_GENERATION,
            GroupError::UnsupportedVersion => ErrorCode::UNSUPPORTED_VERSION,
            GroupError::InconsistentGroupProtocol { .. } => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
            GroupError::RebalanceInProgress { .. } => ErrorCode::REBALANCE_IN_PROGRESS,
            GroupError::NonEmptyGroup => ErrorCode::NON_EMPTY_GROUP,
        }
    }
}
