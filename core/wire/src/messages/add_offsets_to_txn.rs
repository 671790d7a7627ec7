//! AddOffsetsToTxn (key 25, versions 0-4).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Adds a group's offsets to a transaction.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 25, versions = "0-4", flexible = "3+")]
pub struct AddOffsetsToTxnRequest<'a> {
    /// The name that a transactional producer keeps across restarts.
    pub transactional_id: &'a str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub group_id: &'a str,
}

/// Whether it was added.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 25, versions = "0-4", flexible = "3+")]
pub struct AddOffsetsToTxnResponse {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
}
