//! The tokio shell around the core: listeners, request kinds, partition owners, store, retention, scrub.

mod allocator;
mod broker_settings;
mod clock;
mod compaction;
pub mod config;
mod fetch_sessions;
mod fits;
mod follow;
mod groups;
mod handler;
pub mod http;
pub mod metrics;
pub mod net;
mod node;
mod partitions;
mod producer_ids;
mod quotas;
mod requests;
mod retention;
mod scrub;
mod server;
mod server_values;
mod topic_config;
mod topics;
mod validate;
pub use config::ServerConfig;
pub use server::{Started, run};
