//! Produce (key 0, versions 3-13). Versions before 3 carry old record formats; Kafka advertises 0 all the
//! same, for librdkafka's sake (KAFKA-18659), and refuses them. Version 13 names topics by id (KIP-516).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;
use crate::records::Records;

/// Appends record batches to partitions.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 0, versions = "3-13", flexible = "9+")]
pub struct ProduceRequest<'a> {
    /// The name that a transactional producer keeps across restarts; null for any other producer.
    #[wire(versions = "3+", nullable = "3+", default = null)]
    pub transactional_id: Option<&'a str>,
    /// 0: no answer at all, not even for an error; 1: after the leader's own append; -1: after every in-sync
    /// replica's.
    pub acks: i16,
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    pub timeout_ms: i32,
    pub topic_data: Vec<TopicProduceData<'a>>,
}

/// An element of [`ProduceRequest::topic_data`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicProduceData<'a> {
    #[wire(versions = "0-12", ignorable)]
    pub name: &'a str,
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    pub partition_data: Vec<PartitionProduceData<'a>>,
}

/// An element of [`TopicProduceData::partition_data`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct PartitionProduceData<'a> {
    pub index: i32,
    /// Exactly one batch of format 2.
    #[wire(nullable = "0+")]
    pub records: Option<Records<'a>>,
}

/// One result a partition, in any order.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 0, versions = "3-13", flexible = "9+")]
pub struct ProduceResponse<'a> {
    pub responses: Vec<TopicProduceResponse<'a>>,
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    /// Addresses of the leaders named above (KIP-951).
    #[wire(versions = "10+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint<'a>>,
}

/// An element of [`ProduceResponse::responses`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct TopicProduceResponse<'a> {
    #[wire(versions = "0-12", ignorable)]
    pub name: &'a str,
    #[wire(versions = "13+", ignorable)]
    pub topic_id: TopicId,
    pub partition_responses: Vec<PartitionProduceResponse<'a>>,
}

/// An element of [`TopicProduceResponse::partition_responses`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct PartitionProduceResponse<'a> {
    pub index: i32,
    pub error_code: ErrorCode,
    /// The offset given to the first record; -1 on an error.
    pub base_offset: i64,
    /// When the broker appended, if the topic stamps records with that time; -1 if it keeps the producer's.
    #[wire(versions = "2+", ignorable, default = -1)]
    pub log_append_time_ms: i64,
    /// The first offset that can still be read; -1 when unknown.
    #[wire(versions = "5+", ignorable, default = -1)]
    pub log_start_offset: i64,
    /// The records for which the batch was refused.
    #[wire(versions = "8+", ignorable)]
    pub record_errors: Vec<BatchIndexAndErrorMessage<'a>>,
    #[wire(versions = "8+", nullable = "8+", ignorable, default = null)]
    pub error_message: Option<&'a str>,
    /// Who leads, if the request went to somebody else; saves the client a metadata request (KIP-951).
    #[wire(versions = "10+", tag = 0)]
    pub current_leader: LeaderIdAndEpoch,
}

/// An element of [`PartitionProduceResponse::record_errors`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct BatchIndexAndErrorMessage<'a> {
    /// Position of the record in the batch, from 0.
    #[wire(versions = "8+")]
    pub batch_index: i32,
    #[wire(versions = "8+", nullable = "8+", default = null)]
    pub batch_index_error_message: Option<&'a str>,
}

/// The value of [`PartitionProduceResponse::current_leader`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct LeaderIdAndEpoch {
    /// The leader's node; -1 when there is none.
    #[wire(versions = "10+", default = -1)]
    pub leader_id: i32,
    /// The leader's epoch; -1 when unknown.
    #[wire(versions = "10+", default = -1)]
    pub leader_epoch: i32,
}

/// An element of [`ProduceResponse::node_endpoints`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct NodeEndpoint<'a> {
    #[wire(versions = "10+")]
    pub node_id: i32,
    #[wire(versions = "10+")]
    pub host: &'a str,
    #[wire(versions = "10+")]
    pub port: i32,
    #[wire(versions = "10+", nullable = "10+", default = null)]
    pub rack: Option<&'a str>,
}
