//! ListTransactions (key 66).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for ListTransactions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 66, versions = "0-2", flexible = "0+")]
pub struct ListTransactionsRequest<'a> {
    pub state_filters: Vec<&'a str>,
    pub producer_id_filters: Vec<i64>,
    #[wire(versions = "1+", default = -1)]
    pub duration_filter: i64,
    #[wire(versions = "2+", nullable = "2+", default = null)]
    pub transactional_id_pattern: Option<&'a str>,
}

/// Answers ListTransactions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 66, versions = "0-2", flexible = "0+")]
pub struct ListTransactionsResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub unknown_state_filters: Vec<&'a str>,
    pub transaction_states: Vec<TransactionState<'a>>,
}

/// An element of [`ListTransactionsResponse::transaction_states`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TransactionState<'a> {
    pub transactional_id: &'a str,
    pub producer_id: i64,
    pub transaction_state: &'a str,
}
