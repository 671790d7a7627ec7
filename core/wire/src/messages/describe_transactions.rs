//! DescribeTransactions (key 65, versions 0). KIP-664.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks about transactions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 65, versions = "0", flexible = "0+")]
pub struct DescribeTransactionsRequest<'a> {
    pub transactional_ids: Vec<&'a str>,
}

/// The state of each transaction.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 65, versions = "0", flexible = "0+")]
pub struct DescribeTransactionsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub transaction_states: Vec<TransactionState<'a>>,
}

/// An element of [`DescribeTransactionsResponse::transaction_states`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TransactionState<'a> {
    pub error_code: ErrorCode,
    /// The name that a transactional producer keeps across restarts.
    pub transactional_id: &'a str,
    pub transaction_state: &'a str,
    /// A transaction idle for this long is aborted.
    pub transaction_timeout_ms: i32,
    /// When the transaction began, in milliseconds; -1 when none is open.
    pub transaction_start_time_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub topics: Vec<TopicData<'a>>,
}

/// An element of [`TransactionState::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicData<'a> {
    pub topic: &'a str,
    pub partitions: Vec<i32>,
}
