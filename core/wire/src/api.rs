//! The table of API keys, made from the list of messages.

use crate::decode::{DecodeError, DecodeErrorKind};
use crate::encode::{EncodeError, Encoder};
use crate::message::{self, Message, Request};
use crate::messages::*;
use crate::schema;

macro_rules! apis {
    ($($key:literal $name:ident $request:ident $(<$rl:lifetime>)? $response:ident $(<$sl:lifetime>)?,)*) => {
        /// A request kind the codec knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($key), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every key the codec knows, ascending.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name),*];

            /// The key with this number, if the codec knows it.
            pub fn from_i16(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name: `Fetch`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The request: versions known to the codec, flexible versions, fields.
            pub fn request(self) -> &'static schema::Message {
                match self {
                    $(ApiKey::$name => <$request as Message>::SCHEMA,)*
                }
            }

            /// The response: versions known to the codec, flexible versions, fields.
            pub fn response(self) -> &'static schema::Message {
                match self {
                    $(ApiKey::$name => <$response as Message>::SCHEMA,)*
                }
            }
        }

        $(
            impl $(<$rl>)? Request for $request $(<$rl>)? {
                type Response<'r> = apis!(@ty $response 'r $($sl)?);
            }
        )*

        /// A request of any kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyRequest<'a> {
            $(
                #[doc = concat!("Key ", stringify!($key), ".")]
                $name(apis!(@ty $request 'a $($rl)?)),
            )*
        }

        impl<'a> AnyRequest<'a> {
            /// Reads a request body.
            pub fn decode(key: ApiKey, version: i16, body: &'a [u8]) -> Result<AnyRequest<'a>, DecodeError> {
                match key {
                    $(ApiKey::$name => message::decode(body, version).map(AnyRequest::$name),)*
                }
            }

            /// Its key.
            pub fn key(&self) -> ApiKey {
                match self {
                    $(AnyRequest::$name(_) => ApiKey::$name,)*
                }
            }

            /// Appends the body.
            pub fn encode(&self, version: i16, e: &mut Encoder) -> Result<(), EncodeError> {
                match self {
                    $(AnyRequest::$name(request) => message::encode(request, version, e),)*
                }
            }
        }

        /// A response of any kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyResponse<'a> {
            $(
                #[doc = concat!("Key ", stringify!($key), ".")]
                $name(apis!(@ty $response 'a $($sl)?)),
            )*
        }

        impl<'a> AnyResponse<'a> {
            /// Reads a response body.
            pub fn decode(key: ApiKey, version: i16, body: &'a [u8]) -> Result<AnyResponse<'a>, DecodeError> {
                match key {
                    $(ApiKey::$name => message::decode(body, version).map(AnyResponse::$name),)*
                }
            }

            /// Its key.
            pub fn key(&self) -> ApiKey {
                match self {
                    $(AnyResponse::$name(_) => ApiKey::$name,)*
                }
            }

            /// Appends the body.
            pub fn encode(&self, version: i16, e: &mut Encoder) -> Result<(), EncodeError> {
                match self {
                    $(AnyResponse::$name(response) => message::encode(response, version, e),)*
                }
            }
        }
    };
    (@ty $name:ident $lifetime:lifetime $unused:lifetime) => { $name<$lifetime> };
    (@ty $name:ident $lifetime:lifetime) => { $name };
}

apis! {
    0 Produce ProduceRequest<'a> ProduceResponse<'a>,
    1 Fetch FetchRequest<'a> FetchResponse<'a>,
    2 ListOffsets ListOffsetsRequest<'a> ListOffsetsResponse<'a>,
    3 Metadata MetadataRequest<'a> MetadataResponse<'a>,
    8 OffsetCommit OffsetCommitRequest<'a> OffsetCommitResponse<'a>,
    9 OffsetFetch OffsetFetchRequest<'a> OffsetFetchResponse<'a>,
    10 FindCoordinator FindCoordinatorRequest<'a> FindCoordinatorResponse<'a>,
    11 JoinGroup JoinGroupRequest<'a> JoinGroupResponse<'a>,
    12 Heartbeat HeartbeatRequest<'a> HeartbeatResponse,
    13 LeaveGroup LeaveGroupRequest<'a> LeaveGroupResponse<'a>,
    14 SyncGroup SyncGroupRequest<'a> SyncGroupResponse<'a>,
    15 DescribeGroups DescribeGroupsRequest<'a> DescribeGroupsResponse<'a>,
    16 ListGroups ListGroupsRequest<'a> ListGroupsResponse<'a>,
    17 SaslHandshake SaslHandshakeRequest<'a> SaslHandshakeResponse<'a>,
    18 ApiVersions ApiVersionsRequest<'a> ApiVersionsResponse<'a>,
    19 CreateTopics CreateTopicsRequest<'a> CreateTopicsResponse<'a>,
    20 DeleteTopics DeleteTopicsRequest<'a> DeleteTopicsResponse<'a>,
    21 DeleteRecords DeleteRecordsRequest<'a> DeleteRecordsResponse<'a>,
    22 InitProducerId InitProducerIdRequest<'a> InitProducerIdResponse,
    23 OffsetForLeaderEpoch OffsetForLeaderEpochRequest<'a> OffsetForLeaderEpochResponse<'a>,
    24 AddPartitionsToTxn AddPartitionsToTxnRequest<'a> AddPartitionsToTxnResponse<'a>,
    25 AddOffsetsToTxn AddOffsetsToTxnRequest<'a> AddOffsetsToTxnResponse,
    26 EndTxn EndTxnRequest<'a> EndTxnResponse,
    27 WriteTxnMarkers WriteTxnMarkersRequest<'a> WriteTxnMarkersResponse<'a>,
    28 TxnOffsetCommit TxnOffsetCommitRequest<'a> TxnOffsetCommitResponse<'a>,
    29 DescribeAcls DescribeAclsRequest<'a> DescribeAclsResponse<'a>,
    30 CreateAcls CreateAclsRequest<'a> CreateAclsResponse<'a>,
    31 DeleteAcls DeleteAclsRequest<'a> DeleteAclsResponse<'a>,
    32 DescribeConfigs DescribeConfigsRequest<'a> DescribeConfigsResponse<'a>,
    33 AlterConfigs AlterConfigsRequest<'a> AlterConfigsResponse<'a>,
    34 AlterReplicaLogDirs AlterReplicaLogDirsRequest<'a> AlterReplicaLogDirsResponse<'a>,
    35 DescribeLogDirs DescribeLogDirsRequest<'a> DescribeLogDirsResponse<'a>,
    36 SaslAuthenticate SaslAuthenticateRequest<'a> SaslAuthenticateResponse<'a>,
    37 CreatePartitions CreatePartitionsRequest<'a> CreatePartitionsResponse<'a>,
    42 DeleteGroups DeleteGroupsRequest<'a> DeleteGroupsResponse<'a>,
    43 ElectLeaders ElectLeadersRequest<'a> ElectLeadersResponse<'a>,
    44 IncrementalAlterConfigs IncrementalAlterConfigsRequest<'a> IncrementalAlterConfigsResponse<'a>,
    45 AlterPartitionReassignments AlterPartitionReassignmentsRequest<'a> AlterPartitionReassignmentsResponse<'a>,
    46 ListPartitionReassignments ListPartitionReassignmentsRequest<'a> ListPartitionReassignmentsResponse<'a>,
    47 OffsetDelete OffsetDeleteRequest<'a> OffsetDeleteResponse<'a>,
    48 DescribeClientQuotas DescribeClientQuotasRequest<'a> DescribeClientQuotasResponse<'a>,
    49 AlterClientQuotas AlterClientQuotasRequest<'a> AlterClientQuotasResponse<'a>,
    50 DescribeUserScramCredentials DescribeUserScramCredentialsRequest<'a> DescribeUserScramCredentialsResponse<'a>,
    51 AlterUserScramCredentials AlterUserScramCredentialsRequest<'a> AlterUserScramCredentialsResponse<'a>,
    55 DescribeQuorum DescribeQuorumRequest<'a> DescribeQuorumResponse<'a>,
    57 UpdateFeatures UpdateFeaturesRequest<'a> UpdateFeaturesResponse<'a>,
    60 DescribeCluster DescribeClusterRequest DescribeClusterResponse<'a>,
    61 DescribeProducers DescribeProducersRequest<'a> DescribeProducersResponse<'a>,
    65 DescribeTransactions DescribeTransactionsRequest<'a> DescribeTransactionsResponse<'a>,
    66 ListTransactions ListTransactionsRequest<'a> ListTransactionsResponse<'a>,
    68 ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest<'a> ConsumerGroupHeartbeatResponse<'a>,
    69 ConsumerGroupDescribe ConsumerGroupDescribeRequest<'a> ConsumerGroupDescribeResponse<'a>,
    74 ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse<'a>,
    75 DescribeTopicPartitions DescribeTopicPartitionsRequest<'a> DescribeTopicPartitionsResponse<'a>,
}

impl ApiKey {
    /// Versions known to the codec. What a broker advertises is its own table.
    pub fn versions(self) -> schema::Versions {
        self.request().versions
    }

    /// The first version with compact lengths and tagged fields (KIP-482), if there is one.
    pub fn flexible_from(self) -> Option<i16> {
        let flexible = self.request().flexible;
        (!flexible.is_empty()).then_some(flexible.first)
    }

    /// The key with this number, or the error that says it is unknown.
    pub fn require(key: i16) -> Result<ApiKey, DecodeError> {
        let unknown =
            || DecodeError { field: "ApiKey", position: 0, kind: DecodeErrorKind::UnknownApiKey(key) };
        ApiKey::from_i16(key).ok_or_else(unknown)
    }
}
