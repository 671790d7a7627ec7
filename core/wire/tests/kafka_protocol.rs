//! Agreement with the crate `kafka-protocol`, which others wrote from Kafka's definitions.
//!
//! It must never be fed hostile bytes: it reserves memory for any length it reads and aborts.
#![allow(clippy::unwrap_used)]

mod generate;

use buslane_wire::frame::{
    RequestHeader, encode_request, encode_response, request_header_version, response_header_version,
};
use buslane_wire::{ApiKey, Encoder, ErrorCode, messages};
use bytes::{Bytes, BytesMut};
use generate::{Rng, body, recode};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message};

/// Decodes with theirs and encodes again.
fn through<T: Decodable + Encodable>(bytes: &[u8], version: i16) -> Result<Vec<u8>, String> {
    let mut input = Bytes::copy_from_slice(bytes);
    let message = T::decode(&mut input, version).map_err(|e| format!("their decode: {e}"))?;
    if !input.is_empty() {
        return Err(format!("their decode left {} bytes", input.len()));
    }
    let mut out = BytesMut::new();
    message.encode(&mut out, version).map_err(|e| format!("their encode: {e}"))?;
    Ok(out.to_vec())
}

/// Compares one message in every version that both know; returns how many versions that were.
fn compare<T: Decodable + Encodable + Message + HeaderVersion + Default>(
    key: ApiKey,
    response: bool,
) -> usize {
    let schema = if response { key.response() } else { key.request() };
    let first = schema.versions.first.max(T::VERSIONS.min);
    let last = schema.versions.last.min(T::VERSIONS.max);
    for version in first..=last {
        let context = |seed| format!("{} v{version} seed {seed}", schema.name);
        for seed in 0..60 {
            let bytes = body(schema, version, &mut Rng(seed));
            let back = through::<T>(&bytes, version).unwrap_or_else(|e| panic!("{}: {e}", context(seed)));
            assert_eq!(back, bytes, "{}", context(seed));
            assert_eq!(recode(key, response, version, &back).as_ref(), Ok(&bytes), "{}", context(seed));
        }
        // A value that they made; not every version can carry the default of each field.
        let mut bytes = BytesMut::new();
        if T::default().encode(&mut bytes, version).is_ok() {
            assert_eq!(recode(key, response, version, &bytes), Ok(bytes.to_vec()), "{} default", schema.name);
        }
        let ours = if response {
            response_header_version(key as i16, version)
        } else {
            request_header_version(key as i16, version)
        };
        assert_eq!(ours, T::header_version(version), "header of {} v{version}", schema.name);
    }
    usize::try_from(last - first + 1).expect("a range both know")
}

macro_rules! compare_all {
    ($($name:ident $request:ident $response:ident,)*) => {
        [$(
            (ApiKey::$name, compare::<theirs::$request>(ApiKey::$name, false)),
            (ApiKey::$name, compare::<theirs::$response>(ApiKey::$name, true)),
        )*]
    };
}

#[test]
fn every_shared_message_and_version_agrees_both_ways() {
    let compared = compare_all! {
    Produce ProduceRequest ProduceResponse,
    Fetch FetchRequest FetchResponse,
    ListOffsets ListOffsetsRequest ListOffsetsResponse,
    Metadata MetadataRequest MetadataResponse,
    OffsetCommit OffsetCommitRequest OffsetCommitResponse,
    OffsetFetch OffsetFetchRequest OffsetFetchResponse,
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse,
    JoinGroup JoinGroupRequest JoinGroupResponse,
    Heartbeat HeartbeatRequest HeartbeatResponse,
    LeaveGroup LeaveGroupRequest LeaveGroupResponse,
    SyncGroup SyncGroupRequest SyncGroupResponse,
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse,
    ListGroups ListGroupsRequest ListGroupsResponse,
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse,
    ApiVersions ApiVersionsRequest ApiVersionsResponse,
    CreateTopics CreateTopicsRequest CreateTopicsResponse,
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse,
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse,
    InitProducerId InitProducerIdRequest InitProducerIdResponse,
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse,
    AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse,
    EndTxn EndTxnRequest EndTxnResponse,
    WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse,
    TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse,
    DescribeAcls DescribeAclsRequest DescribeAclsResponse,
    CreateAcls CreateAclsRequest CreateAclsResponse,
    DeleteAcls DeleteAclsRequest DeleteAclsResponse,
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
    AlterConfigs AlterConfigsRequest AlterConfigsResponse,
    AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse,
    DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse,
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse,
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse,
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse,
    ElectLeaders ElectLeadersRequest ElectLeadersResponse,
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
    AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse,
    ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse,
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse,
    DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse,
    AlterClientQuotas AlterClientQuotasRequest AlterClientQuotasResponse,
    DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse,
    AlterUserScramCredentials AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse,
    DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse,
    UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse,
    DescribeCluster DescribeClusterRequest DescribeClusterResponse,
    DescribeProducers DescribeProducersRequest DescribeProducersResponse,
    DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse,
    ListTransactions ListTransactionsRequest ListTransactionsResponse,
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse,
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse,
    ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse,
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
    };
    for key in ApiKey::ALL {
        assert_eq!(compared.iter().filter(|(compared, _)| compared == key).count(), 2, "{key:?} is compared");
    }
    let mut younger = Vec::new();
    for (key, versions) in compared {
        let ours = key.request().versions;
        for version in ours.first + versions as i16..=ours.last {
            younger.push(format!("{} {version}", key.name()));
        }
    }
    younger.dedup();
    let expected = [
        "ListOffsets 11",
        "OffsetCommit 10",
        "OffsetFetch 10",
        "ApiVersions 5",
        "WriteTxnMarkers 2",
        "TxnOffsetCommit 6",
        "DescribeLogDirs 5",
        "DeleteGroups 3",
    ];
    assert_eq!(younger, expected, "versions that only we know");
}

#[test]
fn request_frames_agree() {
    for (version, client_id) in [(0, Some("kafka-gopher")), (4, None), (9, Some("")), (13, None)] {
        let request = messages::MetadataRequest { allow_auto_topic_creation: true, ..Default::default() };
        let mut e = Encoder::new();
        encode_request(&mut e, 77, client_id, version, &request).unwrap();
        let frame = e.to_vec().unwrap();
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);

        let mut input = Bytes::copy_from_slice(&frame[4..]);
        let header = theirs::RequestHeader::decode(&mut input, request_header_version(3, version)).unwrap();
        assert_eq!(
            (header.request_api_key, header.request_api_version, header.correlation_id),
            (3, version, 77)
        );
        assert_eq!(header.client_id.as_deref(), client_id);
        let body = theirs::MetadataRequest::decode(&mut input, version).unwrap();
        assert_eq!(body.topics, Some(vec![]));
        assert!(input.is_empty());

        let (header, _) = RequestHeader::decode(&frame[4..]).unwrap();
        assert_eq!(
            (header.api_key, header.api_version, header.correlation_id, header.client_id),
            (3, version, 77, client_id)
        );
    }
}

#[test]
fn response_frames_agree() {
    for version in [0, 2, 3, 4] {
        let mut e = Encoder::new();
        encode_response(&mut e, 78, version, &messages::ApiVersionsResponse::default()).unwrap();
        let mut input = Bytes::from(e.to_vec().unwrap()).slice(4..);
        let header = theirs::ResponseHeader::decode(&mut input, 0).unwrap();
        assert_eq!(header.correlation_id, 78);
        theirs::ApiVersionsResponse::decode(&mut input, version).unwrap();
        assert!(input.is_empty());
    }
}

#[test]
fn error_codes_agree() {
    use kafka_protocol::ResponseError;
    let (mut known, mut retriable) = (0, Vec::new());
    for code in ErrorCode::ALL.iter().filter(|code| code.is_err()) {
        match ResponseError::try_from_code(code.0) {
            Some(ResponseError::Unknown(_)) | None => {}
            Some(error) => {
                known += 1;
                let words = format!("{error:?}").to_lowercase();
                assert_eq!(code.name().unwrap().replace('_', "").to_lowercase(), words);
                if code.is_retriable() != error.is_retriable() {
                    retriable.push(*code);
                }
            }
        }
    }
    assert!(known > 100, "only {known} codes compared");
    // Retriable in Kafka's own table of 4.4, which ours was read from.
    assert_eq!(retriable, [ErrorCode::CONCURRENT_TRANSACTIONS]);
}
