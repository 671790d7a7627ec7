//! Heartbeat (key 12, versions 0-4). Version 3 adds static members (KIP-345).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Keeps a classic member alive.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatRequest<'a> {
    pub group_id: &'a str,
    /// The generation, one more for each rebalance; -1 when unknown.
    pub generation_id: i32,
    /// The member's id; empty in the first request of a classic member.
    pub member_id: &'a str,
    /// The name of a static member (KIP-345).
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<&'a str>,
}

/// Whether it may go on.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatResponse {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
}
