//! EndTxn (key 26).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for EndTxn.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 26, versions = "0-5", flexible = "3+")]
pub struct EndTxnRequest<'a> {
    pub transactional_id: &'a str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub committed: bool,
}

/// Answers EndTxn.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 26, versions = "0-5", flexible = "3+")]
pub struct EndTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub producer_id: i64,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub producer_epoch: i16,
}
