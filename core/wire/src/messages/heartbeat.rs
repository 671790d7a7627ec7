//! Heartbeat (key 12).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for Heartbeat.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatRequest<'a> {
    pub group_id: &'a str,
    pub generation_id: i32,
    pub member_id: &'a str,
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub group_instance_id: Option<&'a str>,
}

/// Answers Heartbeat.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatResponse {
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
}
