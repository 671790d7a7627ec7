//! AlterReplicaLogDirs (key 34, versions 1-2).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;

/// Moves replicas between the directories of a broker.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 34, versions = "1-2", flexible = "2+")]
pub struct AlterReplicaLogDirsRequest<'a> {
    pub dirs: Vec<AlterReplicaLogDir<'a>>,
}

/// An element of [`AlterReplicaLogDirsRequest::dirs`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterReplicaLogDir<'a> {
    pub path: &'a str,
    pub topics: Vec<AlterReplicaLogDirTopic<'a>>,
}

/// An element of [`AlterReplicaLogDir::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterReplicaLogDirTopic<'a> {
    pub name: &'a str,
    pub partitions: Vec<i32>,
}

/// One result a partition.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 34, versions = "1-2", flexible = "2+")]
pub struct AlterReplicaLogDirsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    pub throttle_time_ms: i32,
    pub results: Vec<AlterReplicaLogDirTopicResult<'a>>,
}

/// An element of [`AlterReplicaLogDirsResponse::results`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterReplicaLogDirTopicResult<'a> {
    pub topic_name: &'a str,
    pub partitions: Vec<AlterReplicaLogDirPartitionResult>,
}

/// An element of [`AlterReplicaLogDirTopicResult::partitions`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct AlterReplicaLogDirPartitionResult {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
