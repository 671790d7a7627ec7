//! ListTransactions (key 66, versions 0-2). KIP-664; version 1 filters by duration (KIP-994), 2 by pattern
//! (KIP-1152).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks which transactions the broker coordinates.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 66, versions = "0-2", flexible = "0+")]
pub struct ListTransactionsRequest<'a> {
    /// Only these states; empty for all.
    pub state_filters: Vec<&'a str>,
    /// Only these producers; empty for all.
    pub producer_id_filters: Vec<i64>,
    /// Only transactions open for longer than so many milliseconds; below 0 for all.
    #[wire(versions = "1+", default = -1)]
    pub duration_filter: i64,
    /// Only ids that match this regular expression; null or empty for all.
    #[wire(versions = "2+", nullable = "2+", default = null)]
    pub transactional_id_pattern: Option<&'a str>,
}

/// Their ids and states.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 66, versions = "0-2", flexible = "0+")]
pub struct ListTransactionsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    /// States in the request that do not exist.
    pub unknown_state_filters: Vec<&'a str>,
    pub transaction_states: Vec<TransactionState<'a>>,
}

/// An element of [`ListTransactionsResponse::transaction_states`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TransactionState<'a> {
    /// The name that a transactional producer keeps across restarts.
    pub transactional_id: &'a str,
    pub producer_id: i64,
    pub transaction_state: &'a str,
}
