//! InitProducerId (key 22, versions 0-5). Version 3 lets a producer raise its epoch (KIP-360). Version 6
//! (two-phase commit, KIP-939) is not stable and not covered.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for a producer id and epoch.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 22, versions = "0-5", flexible = "2+")]
pub struct InitProducerIdRequest<'a> {
    /// The name that a transactional producer keeps across restarts.
    #[wire(nullable = "0+")]
    pub transactional_id: Option<&'a str>,
    /// A transaction idle for this long is aborted.
    pub transaction_timeout_ms: i32,
    /// The id of a producer that wants the next epoch; -1 for a new id (KIP-360).
    #[wire(versions = "3+", default = -1)]
    pub producer_id: i64,
    /// The epoch that this producer has; -1 with a new id.
    #[wire(versions = "3+", default = -1)]
    pub producer_epoch: i16,
}

/// The producer id and epoch.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 22, versions = "0-5", flexible = "2+")]
pub struct InitProducerIdResponse {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    /// The id to write with; -1 on an error.
    #[wire(default = -1)]
    pub producer_id: i64,
    pub producer_epoch: i16,
}
