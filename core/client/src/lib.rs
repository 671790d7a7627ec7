//! A thin Kafka client: metadata with topic ids and leader epochs, prebuilt batches out, raw batches in; TLS and SASL.
//!
//! For what must know batches, ids or producer identity: the agent's drain, exporters, the index, the mirror. It speaks
//! [`buslane_wire`] with Buslane and with Apache Kafka, keeps what a broker answered apart from what was never answered
//! ([`Error::is_in_doubt`]), and decides nothing for its caller: it sends nothing twice, retries nothing, builds no batch.
//! Programs of users use librdkafka or another full client.
//!
//! * [`Client`]: connections and metadata, whom to ask. [`Config`] says where the cluster is and what it wants.
//! * [`Client::produce`], [`Client::fetch`], [`Client::offset`], [`Client::new_producer_id`].
//! * [`Connection`]: any request of the codec, in the highest version that both sides know.

mod answer;
mod client;
mod config;
mod connection;
mod error;
mod fetch;
mod handshake;
mod metadata;
mod offsets;
mod produce;
mod stream;

pub use answer::Answer;
pub use client::{ANY_VERSION, Client, Purpose};
pub use config::{Address, BadAddress, Config, DEFAULT_PORT, Identity, Sasl, SaslMechanism, Tls};
pub use connection::{Connection, Pending, Served};
pub use error::Error;
pub use fetch::{FetchAnswer, FetchFrom, FetchLimits, Fetched};
pub use metadata::{Metadata, Partition, Refused, Topic};
pub use offsets::{At, ProducerId};
pub use produce::{Acks, Append, Appended, PartitionRefused, Produced, Producing, is_stale_leader};
