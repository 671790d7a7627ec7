//! The real log, metadata and owner under seeded faults, on a simulated file system whose power is cut at any step.
//!
//! Owns the simulated disk ([`SimFs`]) and the worlds that run on it ([`store_world`], [`clean_world`],
//! [`meta_world`], [`owner_world`]). Deliberately absent: production
//! code paths of its own; nothing here is linked into a program. A failure prints its seed, and the same seed gives the
//! same trace.

pub mod batches;
pub mod clean_world;
pub mod meta_world;
pub mod owner_world;
pub mod rng;
pub mod sim_fs;
pub mod store_world;
pub mod violation;

pub use sim_fs::SimFs;
