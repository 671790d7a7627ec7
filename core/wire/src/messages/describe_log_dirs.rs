//! DescribeLogDirs (key 35, versions 1-5). Version 4 tells the size of the volume (KIP-827), 5 cordoned
//! directories (KIP-1066).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks what stands in which log directory.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 35, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsRequest<'a> {
    #[wire(nullable = "0+")]
    pub topics: Option<Vec<DescribableLogDirTopic<'a>>>,
}

/// An element of [`DescribeLogDirsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribableLogDirTopic<'a> {
    pub topic: &'a str,
    pub partitions: Vec<i32>,
}

/// The directories and their partitions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 35, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    #[wire(versions = "3+", ignorable)]
    pub error_code: ErrorCode,
    pub results: Vec<DescribeLogDirsResult<'a>>,
}

/// An element of [`DescribeLogDirsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeLogDirsResult<'a> {
    pub error_code: ErrorCode,
    pub log_dir: &'a str,
    pub topics: Vec<DescribeLogDirsTopic<'a>>,
    /// Size of the volume; -1 when unknown.
    #[wire(versions = "4+", ignorable, default = -1)]
    pub total_bytes: i64,
    /// Room left on the volume; -1 when unknown.
    #[wire(versions = "4+", ignorable, default = -1)]
    pub usable_bytes: i64,
    #[wire(versions = "5+", ignorable)]
    pub is_cordoned: bool,
}

/// An element of [`DescribeLogDirsResult::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeLogDirsTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<DescribeLogDirsPartition>,
}

/// An element of [`DescribeLogDirsTopic::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DescribeLogDirsPartition {
    pub partition_index: i32,
    pub partition_size: i64,
    /// How far the copy is behind, in offsets.
    pub offset_lag: i64,
    /// True for the copy of a partition that is on its way from another directory.
    pub is_future_key: bool,
}
