//! The Kafka listener: connections, frames, the memory budget, responses.
//!
//! Knows nothing of requests: whole frames go to a [`RequestHandler`], what it answers is written in the order in which
//! the frames came. One task owns one connection ([`connection`]); everything it waits for is bounded in bytes
//! ([`budget`]) and in time ([`progress`]).

pub mod budget;
pub(crate) mod connection;
pub(crate) mod frame;
mod handler;
pub(crate) mod limits;
mod progress;
mod residency;
mod response;
mod server;
mod transport;
pub(crate) mod writer;

pub use budget::{Budget, Charge, Share};
pub use frame::Frame;
pub use handler::{ConnectionContext, Outcome, RequestHandler};
pub use limits::{ConnectionLimits, ListenerSettings, raise_open_files_limit};
pub use response::{Piece, Response};
pub use server::{BindError, Server};
