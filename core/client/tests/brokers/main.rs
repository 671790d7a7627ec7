//! The client with real brokers.

#![allow(clippy::unwrap_used)]

mod buslane;
mod kafka;
mod support;
