//! The listener against raw sockets, with a handler that does what the request says.

#![allow(clippy::unwrap_used)]

mod fixture;

mod budget;
mod hostile;
mod lifecycle;
mod mute;
mod order;
mod sendfile;
