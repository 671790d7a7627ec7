//! FindCoordinator (key 10, versions 0-6). Version 4 asks for several keys at once, 6 for share partitions
//! (KIP-932).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks which broker coordinates a group or transactional id.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 10, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorRequest<'a> {
    /// A group id or transactional id.
    #[wire(versions = "0-3")]
    pub key: &'a str,
    /// 0: group; 1: transaction; 2: share partition.
    #[wire(versions = "1+")]
    pub key_type: i8,
    /// Group ids or transactional ids.
    #[wire(versions = "4+")]
    pub coordinator_keys: Vec<&'a str>,
}

/// One address a key.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 10, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    #[wire(versions = "0-3")]
    pub error_code: ErrorCode,
    #[wire(versions = "1-3", nullable = "1-3", ignorable)]
    pub error_message: Option<&'a str>,
    #[wire(versions = "0-3")]
    pub node_id: i32,
    #[wire(versions = "0-3")]
    pub host: &'a str,
    #[wire(versions = "0-3")]
    pub port: i32,
    #[wire(versions = "4+")]
    pub coordinators: Vec<Coordinator<'a>>,
}

/// An element of [`FindCoordinatorResponse::coordinators`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct Coordinator<'a> {
    #[wire(versions = "4+")]
    pub key: &'a str,
    #[wire(versions = "4+")]
    pub node_id: i32,
    #[wire(versions = "4+")]
    pub host: &'a str,
    #[wire(versions = "4+")]
    pub port: i32,
    #[wire(versions = "4+")]
    pub error_code: ErrorCode,
    #[wire(versions = "4+", nullable = "4+", ignorable)]
    pub error_message: Option<&'a str>,
}
