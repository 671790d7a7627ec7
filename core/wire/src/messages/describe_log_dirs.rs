//! DescribeLogDirs (key 35).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Asks for DescribeLogDirs.
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

/// Answers DescribeLogDirs.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 35, versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsResponse<'a> {
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
    #[wire(versions = "4+", ignorable, default = -1)]
    pub total_bytes: i64,
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
    pub offset_lag: i64,
    pub is_future_key: bool,
}
