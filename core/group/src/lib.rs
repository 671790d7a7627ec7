//! Consumer groups and their offsets as state machines without I/O, clock or randomness.
//!
//! Start at [`Shard`]: one partition of `__consumer_offsets`, its groups and offsets. The broker's shell feeds it requests and
//! time, writes the records it asks for, and sends its replies.
//!
//! * [`api`]: requests, replies, effects.
//! * [`records`]: keys and values of `__consumer_offsets`, byte for byte as Kafka 4.x writes them.
//! * `coordinator`: the shard, and what belongs to it of both protocols; `offsets`: what groups committed.
//! * `classic`: groups of the classic protocol; [`consumer`]: groups of the consumer protocol (KIP-848).
//!
//! Not here: which shard a group belongs to, authorization, quotas, transactions.

pub mod api;
mod classic;
mod config;
pub mod consumer;
mod coordinator;
mod offsets;
pub mod records;
mod timers;
mod turn;

pub use classic::GroupState;
pub use config::Config;
pub use coordinator::{GroupSummary, Replayed, Shard};
pub use offsets::StoredOffset;

// What `#[derive(Wire)]` expands to names the codec's items at the root of the crate that uses it.
use buslane_wire::{Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, schema};
