//! Groups of the classic protocol, with the rules and error codes of Kafka 4.x.
//!
//! ```text
//!            first member joins            all rejoined, or time is up           the leader's assignment is committed
//!   Empty --------------------> Preparing ---------------------------> Completing -----------------------------> Stable
//!     ^                             |  ^                                   |                                       |
//!     +------- nobody is left ------+  +--------- a member joins, leaves, changes, is lost, does not sync ---------+
//! ```
//!
//! * [`group`]: who is in the group, votes, states; no requests.
//! * [`join`], [`sync`], [`presence`] (Heartbeat, LeaveGroup, silence): what requests and deadlines do to it.
//! * [`rebalance`]: how a generation begins.
//! * [`record`]: the group in the log; [`migrate`]: to the consumer protocol and back.
//! * [`rules`]: who may commit, fetch and delete offsets or the group; when its offsets expire.
//!
//! `tests/transcripts.rs` compares answers, records and states with those of Kafka's own shard. On purpose it is not
//! followed where it slips: a static member that returns before its old id has synced is waited for under that id until
//! everyone rebalances; and a mark that a first rebalance leaves behind prolongs the next one. Where Kafka picks the first of
//! a hash map (a leader, the protocol of a tied vote), the choice here is fixed.
//!
//! Where Kafka forgets a waiting request (its member joined or synced again on another connection, or left while it waited),
//! this answers it: each request is answered exactly once.

mod group;
mod join;
mod member;
mod migrate;
mod presence;
mod rebalance;
mod record;
mod rules;
mod subscription;
mod sync;

pub use group::GroupState;

pub(crate) use group::ClassicGroup;
pub(crate) use rules::Retention;
