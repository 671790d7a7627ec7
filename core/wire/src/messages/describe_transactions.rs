//! DescribeTransactions (key 65).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeTransactions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 65, versions = "0", flexible = "0+")]
pub struct DescribeTransactionsRequest<'a> {
    pub transactional_ids: Vec<&'a str>,
}

/// Answers DescribeTransactions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 65, versions = "0", flexible = "0+")]
pub struct DescribeTransactionsResponse<'a> {
    pub throttle_time_ms: i32,
    pub transaction_states: Vec<TransactionState<'a>>,
}

/// An element of [`DescribeTransactionsResponse::transaction_states`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TransactionState<'a> {
    pub error_code: ErrorCode,
    pub transactional_id: &'a str,
    pub transaction_state: &'a str,
    pub transaction_timeout_ms: i32,
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
