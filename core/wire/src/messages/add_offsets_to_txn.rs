//! AddOffsetsToTxn (key 25).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for AddOffsetsToTxn.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 25, versions = "0-4", flexible = "3+")]
pub struct AddOffsetsToTxnRequest<'a> {
    pub transactional_id: &'a str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub group_id: &'a str,
}

/// Answers AddOffsetsToTxn.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 25, versions = "0-4", flexible = "3+")]
pub struct AddOffsetsToTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
}
