//! The server side of the consumer group protocol (KIP-848).

pub mod assignor;
pub mod config;
pub mod fact;
pub mod partitions;
pub mod topics;
