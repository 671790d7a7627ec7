//! AddPartitionsToTxn (key 24, versions 0-5). Version 4 is for brokers, which verify several transactions at
//! once (KIP-890); clients use up to 3, or none of it.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Adds partitions to a transaction.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 24, versions = "0-5", flexible = "3+")]
pub struct AddPartitionsToTxnRequest<'a> {
    #[wire(versions = "4+")]
    pub transactions: Vec<AddPartitionsToTxnTransaction<'a>>,
    #[wire(versions = "0-3")]
    pub v3_and_below_transactional_id: &'a str,
    #[wire(versions = "0-3")]
    pub v3_and_below_producer_id: i64,
    #[wire(versions = "0-3")]
    pub v3_and_below_producer_epoch: i16,
    #[wire(versions = "0-3")]
    pub v3_and_below_topics: Vec<AddPartitionsToTxnTopic<'a>>,
}

/// An element of [`AddPartitionsToTxnRequest::transactions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AddPartitionsToTxnTransaction<'a> {
    /// The name that a transactional producer keeps across restarts.
    #[wire(versions = "4+")]
    pub transactional_id: &'a str,
    #[wire(versions = "4+")]
    pub producer_id: i64,
    #[wire(versions = "4+")]
    pub producer_epoch: i16,
    /// Only ask whether the partitions are in the transaction (KIP-890).
    #[wire(versions = "4+")]
    pub verify_only: bool,
    #[wire(versions = "4+")]
    pub topics: Vec<AddPartitionsToTxnTopic<'a>>,
}

/// An element of [`AddPartitionsToTxnTransaction::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AddPartitionsToTxnTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<i32>,
}

/// One result a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 24, versions = "0-5", flexible = "3+")]
pub struct AddPartitionsToTxnResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    #[wire(versions = "4+", ignorable)]
    pub error_code: ErrorCode,
    #[wire(versions = "4+")]
    pub results_by_transaction: Vec<AddPartitionsToTxnResult<'a>>,
    #[wire(versions = "0-3")]
    pub results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult<'a>>,
}

/// An element of [`AddPartitionsToTxnResponse::results_by_transaction`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AddPartitionsToTxnResult<'a> {
    /// The name that a transactional producer keeps across restarts.
    #[wire(versions = "4+")]
    pub transactional_id: &'a str,
    #[wire(versions = "4+")]
    pub topic_results: Vec<AddPartitionsToTxnTopicResult<'a>>,
}

/// An element of [`AddPartitionsToTxnResult::topic_results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AddPartitionsToTxnTopicResult<'a> {
    pub name: &'a str,
    pub results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
}

/// An element of [`AddPartitionsToTxnTopicResult::results_by_partition`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AddPartitionsToTxnPartitionResult {
    pub partition_index: i32,
    pub partition_error_code: ErrorCode,
}
