use super::*;
use crate::messages::fetch::{FetchResponse, FetchableTopicResponse, PartitionData};
use crate::messages::{CreateTopicsRequest, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest};
use crate::{decode, encode};

fn bytes_of<M: crate::Message>(message: &M, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut e = Encoder::new();
    encode(message, version, &mut e)?;
    Ok(e.to_vec().unwrap())
}

fn partition(index: i32, records: Option<Records<'static>>) -> PartitionData<'static> {
    PartitionData { partition_index: index, records, ..Default::default() }
}

fn response(partitions: Vec<PartitionData<'static>>) -> FetchResponse<'static> {
    let topic = FetchableTopicResponse { topic: "orders", partitions, ..Default::default() };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

#[test]
fn records_stand_beside_the_buffer_in_wire_order() {
    let shared = Bytes::from(vec![7; 1000]);
    for version in [4, 11, 12] {
        let pieces = response(vec![
            partition(0, Some(Records::Shared(shared.clone()))),
            partition(1, None),
            partition(2, Some(Records::Slice(&[8; 10]))),
            partition(3, Some(Records::External { len: 5000, token: 42 })),
            partition(4, Some(Records::Shared(Bytes::new()))),
        ]);
        let mut e = Encoder::new();
        encode(&pieces, version, &mut e).unwrap();
        let bodies: Vec<&PieceBody> = e.pieces().iter().map(|piece| &piece.body).collect();
        assert_eq!(
            bodies,
            [&PieceBody::Shared(shared.clone()), &PieceBody::External { len: 5000, token: 42 }]
        );
        let PieceBody::Shared(kept) = bodies[0] else { panic!("a shared piece") };
        assert_eq!(kept.as_ptr(), shared.as_ptr(), "not copied");
        assert_eq!(e.to_vec(), None, "the external piece is elsewhere");

        // The same with all records in place is the same bytes.
        let in_place = response(vec![
            partition(0, Some(Records::Slice(&[7; 1000]))),
            partition(1, None),
            partition(2, Some(Records::Slice(&[8; 10]))),
            partition(3, Some(Records::Slice(&[9; 5000]))),
            partition(4, Some(Records::Slice(&[]))),
        ]);
        let expected = bytes_of(&in_place, version).unwrap();
        let mut written = Vec::new();
        for segment in e.segments() {
            match segment {
                Segment::Buffer(bytes) => written.extend_from_slice(bytes),
                Segment::Piece(PieceBody::Shared(bytes)) => written.extend_from_slice(bytes),
                Segment::Piece(PieceBody::External { len, .. }) => written.extend(vec![9; *len as usize]),
            }
        }
        assert_eq!(written, expected, "v{version}");
        assert_eq!(e.total_len(), expected.len());
        assert_eq!(decode(&written, version), Ok(in_place));
    }
}

#[test]
fn a_cleared_encoder_keeps_its_buffers() {
    let mut e = Encoder::new();
    let message = response(vec![partition(0, Some(Records::Shared(Bytes::from_static(b"xyz"))))]);
    encode(&message, 12, &mut e).unwrap();
    let (first, place) = (e.to_vec(), e.buffer().as_ptr());
    e.clear();
    assert_eq!((e.total_len(), e.segments().count()), (0, 0));
    encode(&message, 12, &mut e).unwrap();
    assert_eq!((e.to_vec(), e.buffer().as_ptr()), (first, place));
    let (buffer, pieces) = e.take();
    assert_eq!((buffer.is_empty(), pieces.len(), e.total_len()), (false, 1, 0));
}

#[test]
fn a_value_that_the_version_cannot_carry_is_refused() {
    let request = FindCoordinatorRequest { key: "g", key_type: 1, ..Default::default() };
    let refused = |field, version| Err(EncodeError { field, version, kind: EncodeErrorKind::Unsupported });
    assert_eq!(bytes_of(&request, 0), refused("KeyType", 0));
    assert!(bytes_of(&request, 1).is_ok());
    assert_eq!(bytes_of(&request, 4), refused("Key", 4));
    // Allowing auto-creation is the default, and what versions without the field mean.
    assert!(bytes_of(&MetadataRequest::default(), 3).is_ok());
    let request = MetadataRequest { allow_auto_topic_creation: false, ..Default::default() };
    assert_eq!(bytes_of(&request, 3), refused("AllowAutoTopicCreation", 3));
}

#[test]
fn a_tagged_field_that_may_not_be_dropped_is_refused_too() {
    let mut data = partition(0, None);
    data.current_leader.leader_id = 3;
    let message = response(vec![data]);
    let error = bytes_of(&message, 11).unwrap_err();
    assert_eq!((error.field, error.kind), ("CurrentLeader", EncodeErrorKind::Unsupported));
    assert!(bytes_of(&message, 12).is_ok());
}

#[test]
fn an_ignorable_value_is_dropped() {
    let request =
        ListOffsetsRequest { replica_id: -1, isolation_level: 0, timeout_ms: 77, ..Default::default() };
    let without = ListOffsetsRequest { timeout_ms: 0, ..request.clone() };
    assert_eq!(bytes_of(&request, 9), bytes_of(&without, 9));
    assert_ne!(bytes_of(&request, 10), bytes_of(&without, 10));
}

#[test]
fn null_is_refused_where_the_version_does_not_allow_it() {
    let everything = MetadataRequest { topics: None, ..Default::default() };
    let kind = EncodeErrorKind::Null;
    assert_eq!(bytes_of(&everything, 0), Err(EncodeError { field: "Topics", version: 0, kind }));
    assert_eq!(bytes_of(&everything, 1), Ok(vec![0xff; 4]));
}

#[test]
fn lengths_beyond_the_limits_are_refused() {
    let long = "x".repeat(32_768);
    for version in [0, 3] {
        let request = FindCoordinatorRequest { key: &long, ..Default::default() };
        assert_eq!(bytes_of(&request, version).unwrap_err().kind, EncodeErrorKind::StringTooLong(32_768));
        let request = FindCoordinatorRequest { key: &long[1..], ..Default::default() };
        assert!(bytes_of(&request, version).is_ok());
    }
    let request = FindCoordinatorRequest { coordinator_keys: vec![""; 1_000_001], ..Default::default() };
    assert_eq!(bytes_of(&request, 4).unwrap_err().kind, EncodeErrorKind::ArrayTooLong(1_000_001));
}

#[test]
fn versions_that_are_not_known_are_refused() {
    for version in [-1, 0, 1, 8] {
        let error = bytes_of(&CreateTopicsRequest::default(), version).unwrap_err();
        assert_eq!(error.kind, EncodeErrorKind::UnsupportedVersion { first: 2, last: 7 });
    }
}

#[test]
fn a_tagged_field_longer_than_127_bytes_has_a_longer_size() {
    use crate::messages::fetch::NodeEndpoint;
    let host = "h".repeat(300);
    let node_endpoints = vec![NodeEndpoint { node_id: 1, host: &host, port: 9092, rack: None }];
    let message = FetchResponse { node_endpoints, ..Default::default() };
    let bytes = bytes_of(&message, 16).unwrap();
    assert_eq!(decode::<FetchResponse<'_>>(&bytes, 16), Ok(message));
}

#[test]
fn the_errors_of_a_message_are_counted_wherever_they_stand() {
    let (gone, failed) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::KAFKA_STORAGE_ERROR);
    let with = |index, error_code| PartitionData { error_code, ..partition(index, None) };
    let codes = [gone, ErrorCode::NONE, failed, gone];
    let mut message = response((0..).zip(codes).map(|(index, code)| with(index, code)).collect());
    let mut e = Encoder::new();
    encode(&message, 11, &mut e).unwrap();
    assert_eq!(e.take_errors(), [(gone, 2), (failed, 1)]);
    assert_eq!(e.take_errors(), []);
    // The one of the whole response too, in versions that have it.
    message.error_code = failed;
    message.responses.clear();
    encode(&message, 11, &mut e).unwrap();
    assert_eq!(e.take_errors(), [(failed, 1)]);
    encode(&response(vec![]), 11, &mut e).unwrap();
    assert_eq!(e.take_errors(), []);
}

#[test]
fn what_is_overwritten_keeps_its_place_and_all_else() {
    let mut e = Encoder::new();
    e.raw(b"abcdef");
    e.overwrite(2, b"XY");
    assert_eq!(e.buffer(), b"abXYef");
}
