//! WriteTxnMarkers (key 27, versions 1-2). Between brokers. Version 2 tells the transaction version
//! (KIP-1228).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Writes the ends of transactions into partitions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 27, versions = "1-2", flexible = "1+")]
pub struct WriteTxnMarkersRequest<'a> {
    pub markers: Vec<WritableTxnMarker<'a>>,
}

/// An element of [`WriteTxnMarkersRequest::markers`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct WritableTxnMarker<'a> {
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// True for commit, false for abort.
    pub transaction_result: bool,
    pub topics: Vec<WritableTxnMarkerTopic<'a>>,
    /// Epoch of the transaction coordinator's own partition; -1 when unknown.
    pub coordinator_epoch: i32,
    /// 0 or 1: as before KIP-890; 2: transactions of version 2 (KIP-1228).
    #[wire(versions = "2+", ignorable)]
    pub transaction_version: i8,
}

/// An element of [`WritableTxnMarker::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct WritableTxnMarkerTopic<'a> {
    pub name: &'a str,
    pub partition_indexes: Vec<i32>,
}

/// One result a marker and partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 27, versions = "1-2", flexible = "1+")]
pub struct WriteTxnMarkersResponse<'a> {
    pub markers: Vec<WritableTxnMarkerResult<'a>>,
}

/// An element of [`WriteTxnMarkersResponse::markers`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct WritableTxnMarkerResult<'a> {
    pub producer_id: i64,
    pub topics: Vec<WritableTxnMarkerTopicResult<'a>>,
}

/// An element of [`WritableTxnMarkerResult::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct WritableTxnMarkerTopicResult<'a> {
    pub name: &'a str,
    pub partitions: Vec<WritableTxnMarkerPartitionResult>,
}

/// An element of [`WritableTxnMarkerTopicResult::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct WritableTxnMarkerPartitionResult {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
