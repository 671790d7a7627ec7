//! WriteTxnMarkers (key 27).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for WriteTxnMarkers.
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
    pub transaction_result: bool,
    pub topics: Vec<WritableTxnMarkerTopic<'a>>,
    pub coordinator_epoch: i32,
    #[wire(versions = "2+", ignorable)]
    pub transaction_version: i8,
}

/// An element of [`WritableTxnMarker::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct WritableTxnMarkerTopic<'a> {
    pub name: &'a str,
    pub partition_indexes: Vec<i32>,
}

/// Answers WriteTxnMarkers.
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
