//! A broker's "no", in words.

use std::fmt;

use buslane_wire::ErrorCode;

use crate::exit::{Failure, Status};

/// A broker answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// What the broker says about it.
    pub message: Option<String>,
}

/// Why there is no result.
#[derive(Debug)]
pub enum Trouble {
    /// There is an answer, and it is an error.
    Refused(Refusal),
    /// There is no answer, or none that can be used.
    Failed(Failure),
}

/// An error code of an answer, with the message beside it, as a result.
pub fn refused(code: ErrorCode, message: Option<&str>) -> Result<(), Refusal> {
    if !code.is_err() {
        return Ok(());
    }
    let message = message.map(str::trim).filter(|message| !message.is_empty()).map(str::to_owned);
    Err(Refusal { code, message })
}

impl Refusal {
    /// The same question may get another answer in a moment: somebody is about to take over, or still loads.
    pub fn is_not_now(&self) -> bool {
        matches!(
            self.code,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                | ErrorCode::COORDINATOR_NOT_AVAILABLE
                | ErrorCode::NOT_COORDINATOR
                | ErrorCode::NOT_LEADER_OR_FOLLOWER
                | ErrorCode::LEADER_NOT_AVAILABLE
                | ErrorCode::REPLICA_NOT_AVAILABLE
                | ErrorCode::OFFSET_NOT_AVAILABLE
                | ErrorCode::FENCED_LEADER_EPOCH
                | ErrorCode::UNKNOWN_LEADER_EPOCH
                | ErrorCode::NOT_CONTROLLER
                | ErrorCode::THROTTLING_QUOTA_EXCEEDED
        )
    }

    /// The failure it means for a verb; `what` says what was tried.
    pub fn failure(&self, what: &str) -> Failure {
        let status = match self.code {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            | ErrorCode::UNKNOWN_TOPIC_ID
            | ErrorCode::TOPIC_ALREADY_EXISTS
            | ErrorCode::GROUP_ID_NOT_FOUND => Status::Existence,
            _ => Status::Failed,
        };
        Failure::new(status, format!("{what}: {self}"))
    }
}

impl fmt::Display for Refusal {
    /// The broker's own sentence where there is one, else ours, and always Kafka's name of the error: that is what can
    /// be looked up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.as_deref(), in_words(self.code)) {
            (Some(words), _) | (None, Some(words)) => {
                write!(f, "{} ({})", words.trim_end_matches('.'), self.code)
            }
            (None, None) => write!(f, "{}", self.code),
        }
    }
}

/// What the errors mean that come without a message.
fn in_words(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID => {
            "there is no such topic or partition"
        }
        ErrorCode::TOPIC_ALREADY_EXISTS => "it exists already",
        ErrorCode::INVALID_TOPIC_EXCEPTION => {
            "the name is not allowed (at most 249 of a-z A-Z 0-9 . _ -), or the topic is the cluster's own"
        }
        ErrorCode::GROUP_ID_NOT_FOUND => "there is no such group",
        ErrorCode::INVALID_GROUP_ID => "a group cannot have this name",
        ErrorCode::NON_EMPTY_GROUP => "the group has members",
        ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => "the group's members are subscribed to the topic",
        ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION | ErrorCode::STALE_MEMBER_EPOCH => {
            "only members may commit now: the group has some"
        }
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => "the group's coordinator is still loading",
        ErrorCode::COORDINATOR_NOT_AVAILABLE => "the group has no coordinator at the moment",
        ErrorCode::NOT_COORDINATOR => "the group's coordinator is moving",
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::LEADER_NOT_AVAILABLE => {
            "the partition has no owner at the moment"
        }
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::GROUP_AUTHORIZATION_FAILED
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => "you are not allowed to",
        ErrorCode::REQUEST_TIMED_OUT => "it was not done in time, and may be done later",
        ErrorCode::UNKNOWN_SERVER_ERROR => "the broker failed; its log says why",
        _ => return None,
    })
}

impl Trouble {
    /// The failure it means for a verb; `what` says what was tried.
    pub fn failure(self, what: &str) -> Failure {
        match self {
            Self::Refused(refusal) => refusal.failure(what),
            Self::Failed(failure) => Failure { error: failure.error.context(what.to_owned()), ..failure },
        }
    }

    /// Whether the broker answered with this error.
    pub fn is(&self, code: ErrorCode) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_words_come_before_ours_and_the_name_is_always_there() {
        let say = |code, message: Option<&str>| refused(code, message).map_err(|refusal| refusal.to_string());
        assert_eq!(say(ErrorCode::NONE, Some("fine")), Ok(()));
        assert_eq!(
            say(ErrorCode::INVALID_CONFIG, Some("Unknown topic config name: x.")),
            Err("Unknown topic config name: x (INVALID_CONFIG)".to_owned())
        );
        for message in [None, Some(" ")] {
            assert_eq!(
                say(ErrorCode::NON_EMPTY_GROUP, message),
                Err("the group has members (NON_EMPTY_GROUP)".to_owned())
            );
        }
        assert_eq!(say(ErrorCode::POLICY_VIOLATION, None), Err("POLICY_VIOLATION".to_owned()));
        assert_eq!(say(ErrorCode(999), None), Err("ERROR_999".to_owned()));
    }
}
