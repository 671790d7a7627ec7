//! The tokio shell around the core: listeners, request kinds, partition owners, store, retention.

pub mod config;
pub mod http;
pub mod metrics;
pub mod net;
