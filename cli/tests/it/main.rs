//! The built binary, run as a user would run it. One test program, so that it is linked once.
//!
//! * [`command_line`]: without a broker. * [`client_verbs`]: against one. * [`server`]: `buslane server` as a process.

mod broker;
mod client_verbs;
mod command_line;
mod fixture;
mod server;
