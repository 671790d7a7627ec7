//! The Databus agent: a service names a channel and sends an event to its own host; the agent spools it, batches it, and
//! writes it into the channel's topic, neither lost nor doubled.
//!
//! * [`channel`]: takes events, gives each its place in the [`spool`], and tells how safe it is.
//! * [`drain`]: what is sent when, as a state machine without I/O; [`pump`] carries it out.
//! * [`http`]: the doors. [`agent`] wires all of it, and applies new configurations.
//! * [`settings`]: what an agent is told.

pub mod agent;
pub mod channel;
pub mod dedup;
pub mod drain;
pub mod follow;
pub mod http;
pub mod pump;
pub mod route;
pub mod run;
pub mod settings;
pub mod spool;
