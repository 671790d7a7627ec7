//! The tokio shell around the core: listeners, request kinds, partition owners, store, retention.

pub mod metrics;
pub mod net;
