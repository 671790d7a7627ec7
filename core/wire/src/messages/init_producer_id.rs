//! InitProducerId (key 22).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for InitProducerId.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 22, versions = "0-5", flexible = "2+")]
pub struct InitProducerIdRequest<'a> {
    #[wire(nullable = "0+")]
    pub transactional_id: Option<&'a str>,
    pub transaction_timeout_ms: i32,
    #[wire(versions = "3+", default = -1)]
    pub producer_id: i64,
    #[wire(versions = "3+", default = -1)]
    pub producer_epoch: i16,
}

/// Answers InitProducerId.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 22, versions = "0-5", flexible = "2+")]
pub struct InitProducerIdResponse {
    #[wire(ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(default = -1)]
    pub producer_id: i64,
    pub producer_epoch: i16,
}
