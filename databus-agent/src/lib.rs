//! The Databus agent: a service names a channel and sends an event to its own host; the agent spools it, batches it, and
//! writes it into the channel's topic, neither lost nor doubled.
//!
//! What is here so far: [`drain`], which decides what is sent when, as a state machine without I/O.

pub mod drain;
