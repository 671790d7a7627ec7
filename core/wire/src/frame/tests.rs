use super::*;
use crate::messages::{FetchResponse, MetadataRequest, SaslHandshakeRequest};
use crate::{EncodeErrorKind, decode};

#[test]
fn header_versions_follow_flexibility_with_exceptions() {
    let headers = |key: ApiKey, version| {
        (request_header_version(key as i16, version), response_header_version(key as i16, version))
    };
    assert_eq!([headers(ApiKey::Fetch, 11), headers(ApiKey::Fetch, 12)], [(1, 0), (2, 1)]);
    assert_eq!([headers(ApiKey::ApiVersions, 2), headers(ApiKey::ApiVersions, 3)], [(1, 0), (2, 0)]);
    assert_eq!(headers(ApiKey::ApiVersions, 99), (2, 0), "a version from the future");
    assert_eq!(headers(ApiKey::SaslHandshake, 1), (1, 0));
    assert_eq!([request_header_version(7, 0), request_header_version(7, 1)], [0, 1], "ControlledShutdown");
    assert_eq!((request_header_version(999, 0), response_header_version(-5, 0)), (1, 0));
}

#[test]
fn a_prefix_can_be_read_where_nothing_else_can() {
    let frame = [0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xfe, 1, 2, 3];
    let prefix = RequestPrefix { api_key: 18, api_version: 99, correlation_id: 5 };
    assert_eq!(RequestPrefix::peek(&frame), Ok(prefix));
    assert!(RequestHeader::decode(&frame).is_err(), "the client id has the length -2");
    assert!(RequestPrefix::peek(&frame[..7]).is_err());
}

/// Bytes as a client sends them: Metadata v12 for no topic, client id `rdkafka`.
#[test]
fn a_request_frame_has_these_bytes() {
    let mut e = Encoder::new();
    encode_request(&mut e, 3, Some("rdkafka"), 12, &MetadataRequest::default()).unwrap();
    let frame = e.to_vec().unwrap();
    let expected = [&[0, 0, 0, 22, 0, 3, 0, 12, 0, 0, 0, 3, 0, 7][..], b"rdkafka", &[0, 1, 1, 0, 0]];
    assert_eq!(frame, expected.concat());
    let (header, body) = RequestHeader::decode(&frame[4..]).unwrap();
    assert_eq!((header.correlation_id, header.client_id), (3, Some("rdkafka")));
    assert_eq!(decode(body, 12), Ok(MetadataRequest::default()));
}

#[test]
fn tags_in_a_header_are_skipped() {
    let frame = [0, 3, 0, 12, 0, 0, 0, 3, 0xff, 0xff, 1, 9, 2, 7, 7, 0xaa];
    let (header, body) = RequestHeader::decode(&frame).unwrap();
    assert_eq!((header.client_id, body), (None, &[0xaa][..]));
    let response = [0, 0, 0, 4, 1, 0, 1, 7, 0xbb];
    assert_eq!(decode_response_header(&response, ApiKey::Fetch, 12), Ok((4, &[0xbb][..])));
    assert_eq!(decode_response_header(&response, ApiKey::Fetch, 11), Ok((4, &response[4..])));
}

#[test]
fn frames_follow_one_another_in_one_encoder() {
    use crate::messages::fetch::{FetchableTopicResponse, PartitionData};
    use crate::{PieceBody, Records};
    let partition =
        PartitionData { records: Some(Records::External { len: 1 << 20, token: 7 }), ..Default::default() };
    let topic = FetchableTopicResponse { topic: "t", partitions: vec![partition], ..Default::default() };
    let fetch = FetchResponse { responses: vec![topic], ..Default::default() };
    let mut e = Encoder::new();
    encode_response(&mut e, 1, 11, &fetch).unwrap();
    let first = e.total_len();
    let announced = i32::from_be_bytes(e.buffer()[..4].try_into().unwrap());
    assert_eq!(announced as usize, first - 4);

    // A refused message leaves no trace, not even of its records.
    let mut refused = fetch.clone();
    refused.responses[0].partitions[0].current_leader.leader_id = 1;
    let error = encode_response(&mut e, 2, 11, &refused).unwrap_err();
    assert_eq!(error.kind, EncodeErrorKind::Unsupported);
    assert_eq!((e.total_len(), e.pieces().len()), (first, 1));

    encode_response(&mut e, 3, 12, &fetch).unwrap();
    let second = e.pieces()[0].position;
    assert!(matches!(e.pieces()[1].body, PieceBody::External { len: 1_048_576, token: 7 }));
    let size = i32::from_be_bytes(e.buffer()[second..second + 4].try_into().unwrap());
    assert_eq!(size as usize, e.total_len() - first - 4);
    assert_eq!(e.buffer()[second + 4..second + 9], [0, 0, 0, 3, 0], "correlation id and no tags");
}

#[test]
fn a_frame_beyond_two_gibibytes_is_taken_back() {
    use crate::Records;
    use crate::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
    let partition = |index| PartitionProduceData {
        index,
        records: Some(Records::External { len: i32::MAX as u32, token: 0 }),
    };
    let topic = TopicProduceData { partition_data: vec![partition(0), partition(1)], ..Default::default() };
    let request = ProduceRequest { topic_data: vec![topic], ..Default::default() };
    let mut e = Encoder::new();
    let error = encode_request(&mut e, 1, None, 9, &request).unwrap_err();
    assert!(matches!(error.kind, EncodeErrorKind::TooLong(_)), "{error}");
    assert_eq!(e.total_len(), 0);
}

#[test]
fn frame_sizes_are_checked_before_anything_is_read() {
    assert_eq!(frame_len([0, 0, 1, 0], 1000), Ok(256));
    assert_eq!(frame_len([0, 0, 3, 0xe8], 1000), Ok(1000));
    assert_eq!(frame_len([0, 0, 3, 0xe9], 1000), Err(FrameTooLong { announced: 1001, max: 1000 }));
    assert_eq!(frame_len([0xff; 4], 1000), Err(FrameTooLong { announced: -1, max: 1000 }));
    // An HTTP request on the wrong port.
    assert!(frame_len(*b"GET ", 100 << 20).is_err());
}

#[test]
fn sasl_handshake_is_never_flexible() {
    let mut e = Encoder::new();
    encode_request(&mut e, 1, None, 1, &SaslHandshakeRequest { mechanism: "PLAIN" }).unwrap();
    assert_eq!(e.buffer()[4..], *b"\x00\x11\x00\x01\x00\x00\x00\x01\xff\xff\x00\x05PLAIN");
}
