//! EndTxn (key 26, versions 0-5). Version 5 answers with the next epoch (KIP-890).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Commits or aborts a transaction.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 26, versions = "0-5", flexible = "3+")]
pub struct EndTxnRequest<'a> {
    /// The name that a transactional producer keeps across restarts.
    pub transactional_id: &'a str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// True to commit, false to abort.
    pub committed: bool,
}

/// Whether it did.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 26, versions = "0-5", flexible = "3+")]
pub struct EndTxnResponse {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub producer_id: i64,
    #[wire(versions = "5+", ignorable, default = -1)]
    pub producer_epoch: i16,
}
