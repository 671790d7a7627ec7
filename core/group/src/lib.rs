//! Consumer groups and their offsets as state machines without I/O, clock or randomness.
//!
//! * [`records`]: keys and values of `__consumer_offsets`, byte for byte as Kafka 4.x writes them.
//! * [`consumer`]: groups of the consumer protocol (KIP-848).

pub mod consumer;
pub mod records;

// What `#[derive(Wire)]` expands to names the codec's items at the root of the crate that uses it.
use buslane_wire::{Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, schema};
