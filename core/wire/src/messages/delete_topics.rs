//! DeleteTopics (key 20).

use buslane_wire_derive::Wire;

use crate::error_code::ErrorCode;
use crate::ids::TopicId;

/// Asks for DeleteTopics.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(request, key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsRequest<'a> {
    #[wire(versions = "6+")]
    pub topics: Vec<DeleteTopicState<'a>>,
    #[wire(versions = "0-5", ignorable)]
    pub topic_names: Vec<&'a str>,
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

/// Answers DeleteTopics.
#[derive(Debug, Clone, PartialEq, Wire)]
#[wire(response, key = 20, versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse<'a> {
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
