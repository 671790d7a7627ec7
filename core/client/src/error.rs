//! What can go wrong between a client and a broker.

use std::fmt;
use std::time::Duration;

use buslane_wire::ErrorCode;

use crate::config::SaslMechanism;

/// Why a request has no answer that is of use. Every variant names the broker and the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used: a file that is not there, no address.
    #[error("{0}")]
    Configuration(String),
    /// No connection: nobody listens there, no TLS, or no Kafka broker.
    #[error("{peer} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`, or several.
        peer: String,
        /// Why.
        reason: String,
    },
    /// The broker does not take this client for who it says it is.
    #[error("{peer} refuses {username:?} by {}: {reason}", .mechanism.name())]
    Authentication {
        /// `host:port`.
        peer: String,
        /// How it was tried.
        mechanism: SaslMechanism,
        /// Who it said it is.
        username: String,
        /// What the broker says.
        reason: String,
    },
    /// The connection ended before the answer came.
    #[error("{peer} was lost before it answered {request}: {reason}")]
    Lost {
        /// `host:port`.
        peer: String,
        /// `Produce`.
        request: &'static str,
        /// Why.
        reason: String,
        /// Bytes of the request went out: the broker may have carried it out.
        sent: bool,
    },
    /// No answer in time. The connection is given up.
    #[error("{peer} did not answer {request} within {after:?}")]
    Late {
        /// `host:port`.
        peer: String,
        /// `Produce`.
        request: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The broker does not know the request, or no version of it that this client knows.
    #[error("{peer} {}, this client knows {request} in versions {} to {}", Served(*.theirs), .ours.0, .ours.1)]
    Unsupported {
        /// `host:port`.
        peer: String,
        /// `Produce`.
        request: &'static str,
        /// First and last version that this client knows.
        ours: (i16, i16),
        /// Those of the broker, where it serves any.
        theirs: Option<(i16, i16)>,
    },
    /// The answer is not what the protocol says.
    #[error("{peer} answered {request} with something else: {reason}")]
    Malformed {
        /// `host:port`.
        peer: String,
        /// `Produce`.
        request: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The request has something that its version cannot carry.
    #[error("{request} cannot be written: {reason}")]
    Unwritable {
        /// `Produce`.
        request: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The broker refuses the whole request.
    #[error("{peer} refuses {request}: {code}{}", Explained(.message))]
    Refused {
        /// `host:port`.
        peer: String,
        /// `Produce`.
        request: &'static str,
        /// Why, by Kafka's names.
        code: ErrorCode,
        /// What it says beside.
        message: Option<String>,
    },
}

struct Served(Option<(i16, i16)>);

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((first, last)) => write!(f, "serves versions {first} to {last}"),
            None => f.write_str("does not serve it"),
        }
    }
}

struct Explained<'a>(&'a Option<String>);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |message| write!(f, " ({message})"))
    }
}

impl Error {
    /// True when the broker may have carried the request out all the same: whoever sends it again must be sure that twice
    /// is as good as once.
    pub fn is_in_doubt(&self) -> bool {
        match self {
            Error::Lost { sent, .. } => *sent,
            Error::Late { .. } | Error::Malformed { .. } => true,
            _ => false,
        }
    }

    /// True when another try may do better: what failed is the connection, or the broker says so.
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::Lost { .. } | Error::Late { .. } => true,
            Error::Refused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }
}
