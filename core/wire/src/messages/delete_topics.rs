//! DeleteTopics (key 20, versions 1-6). Version 6 names topics by id.

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Deletes topics.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsRequest<'a> {
    #[wire(versions = "6+")]
    pub topics: Vec<DeleteTopicState<'a>>,
    #[wire(versions = "0-5", ignorable)]
    pub topic_names: Vec<&'a str>,
    /// How long the broker may take before it answers with REQUEST_TIMED_OUT.
    pub timeout_ms: i32,
}

/// An element of [`DeleteTopicsRequest::topics`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeleteTopicState<'a> {
    #[wire(versions = "6+", nullable = "6+", default = null)]
    pub name: Option<&'a str>,
    #[wire(versions = "6+")]
    pub topic_id: TopicId,
}

/// One result a topic.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse<'a> {
    /// How long the client should hold back because of a quota; the broker has already answered.
    #[wire(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub responses: Vec<DeletableTopicResult<'a>>,
}

/// An element of [`DeleteTopicsResponse::responses`].
#[derive(Debug, Clone, PartialEq, Wire)]
pub struct DeletableTopicResult<'a> {
    #[wire(nullable = "6+")]
    pub name: Option<&'a str>,
    #[wire(versions = "6+", ignorable)]
    pub topic_id: TopicId,
    pub error_code: ErrorCode,
    #[wire(versions = "5+", nullable = "5+", ignorable, default = null)]
    pub error_message: Option<&'a str>,
}
