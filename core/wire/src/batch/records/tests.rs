use super::super::varint::{put_varint, put_varlong};
use super::*;

/// One record's bytes, with whatever `change` does to its body.
fn raw(timestamp_delta: i64, offset_delta: i32, fields: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    put_varlong(&mut body, timestamp_delta);
    put_varint(&mut body, offset_delta);
    body.extend_from_slice(fields);
    framed(&body)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, body.len() as i32);
    out.extend_from_slice(body);
    out
}

/// Key and value null, no headers.
const BARE: [u8; 3] = [1, 1, 0];

fn header(record_count: i32, last_offset_delta: i32) -> BatchHeader {
    BatchHeader {
        record_count,
        last_offset_delta,
        base_timestamp: 1_000,
        max_timestamp: 9_000,
        ..BatchHeader::default()
    }
}

fn read(header: BatchHeader, records: &[&[u8]]) -> Result<Vec<(i32, i64)>, (usize, &'static str)> {
    RecordIter::new(header, &records.concat())
        .map(|r| match r {
            Ok(record) => Ok((record.offset_delta, record.timestamp)),
            Err(RecordError::Malformed { number, reason }) => Err((number, reason)),
            Err(other) => panic!("{other}"),
        })
        .collect()
}

#[test]
fn records_are_read_in_order_with_their_times() {
    let (a, b) = (raw(5, 0, &BARE), raw(-7, 1, &BARE));
    assert_eq!(read(header(2, 1), &[&a, &b]), Ok(vec![(0, 1_005), (1, 993)]));
    let append_time = BatchHeader { attributes: 8, ..header(2, 1) };
    assert_eq!(read(append_time, &[&a, &b]), Ok(vec![(0, 9_000), (1, 9_000)]));
}

#[test]
fn gaps_are_compactions_and_may_be() {
    let (a, b) = (raw(0, 3, &BARE), raw(0, 8, &BARE));
    assert_eq!(read(header(2, 20), &[&a, &b]), Ok(vec![(3, 1_000), (8, 1_000)]));
    // All records gone, the batch kept for its offsets and its producer.
    assert_eq!(read(header(0, 20), &[]), Ok(vec![]));
}

#[test]
fn what_contradicts_the_header_is_told_with_the_record() {
    let (a, b) = (raw(0, 0, &BARE), raw(0, 1, &BARE));
    assert_eq!(read(header(3, 2), &[&a, &b]), Err((2, "it is cut off")));
    assert_eq!(read(header(1, 0), &[&a, &b]), Err((1, "bytes follow the last record")));
    assert_eq!(read(header(2, 1), &[&a, &a]), Err((1, "its offset delta is not above the one before")));
    assert_eq!(read(header(2, 1), &[&b, &a]), Err((1, "its offset delta is not above the one before")));
    assert_eq!(read(header(2, 0), &[&a, &b]), Err((1, "its offset delta is above the batch's last")));
    let negative = raw(0, -1, &BARE);
    assert_eq!(read(header(1, 0), &[&negative]), Err((0, "its offset delta is not above the one before")));
    let far = raw(i64::MAX, 0, &BARE);
    assert_eq!(read(header(1, 0), &[&far]), Err((0, "its timestamp overflows")));
    assert_eq!(read(header(i32::MAX, i32::MAX), &[&a]), Err((1, "it is cut off")));
}

#[test]
fn each_length_is_checked() {
    let one = header(1, 0);
    let fields = |fields: &[u8]| read(one, &[&raw(0, 0, fields)]);
    // Lengths are zigzag: 6 is 3, 3 is -2.
    assert_eq!(fields(&[6, b'k', b'e', b'y', 1, 0]), Ok(vec![(0, 1_000)]));
    assert_eq!(fields(&[6, b'k', b'e', b'y', 1, 0, 0]), Err((0, "its length does not match its fields")));
    assert_eq!(fields(&[6, b'k', b'e']), Err((0, "it is cut off")));
    assert_eq!(fields(&[3, 1, 0]), Err((0, "a length is negative")));
    assert_eq!(fields(&[1, 3, 0]), Err((0, "a length is negative")));
    assert_eq!(fields(&[1, 1, 1]), Err((0, "its number of headers is negative")));
    assert_eq!(fields(&[1, 1, 2, 1, 1]), Err((0, "a header's key is null")));
    assert_eq!(fields(&[1, 1, 2, 0, 1]), Ok(vec![(0, 1_000)]));
    // A count of headers that there is no room for ends at the first that is missing.
    assert_eq!(fields(&[1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]), Err((0, "it is cut off")));
    assert_eq!(fields(&[0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err((0, "a number does not fit")));
    assert_eq!(read(one, &[&[1]]), Err((0, "its length is negative")));
    assert_eq!(read(one, &[&framed(&[])]), Err((0, "it is cut off")));
}

#[test]
fn after_an_error_there_is_nothing_more() {
    let records = raw(0, 5, &BARE);
    let mut iter = RecordIter::new(header(1, 0), &records);
    assert!(iter.next().unwrap().is_err());
    assert!(iter.next().is_none());
}

#[test]
fn headers_keep_their_order_and_their_repeats() {
    let mut fields = vec![1, 1, 8];
    let expected: [(&[u8], Option<&[u8]>); 4] =
        [(b"b", Some(b"1")), (b"a", None), (b"b", Some(b"2")), (b"\xff not utf-8", Some(b""))];
    for (key, value) in expected {
        put_varint(&mut fields, key.len() as i32);
        fields.extend_from_slice(key);
        put_varint(&mut fields, value.map_or(-1, |v| v.len() as i32));
        fields.extend_from_slice(value.unwrap_or_default());
    }
    let records = raw(0, 0, &fields);
    let record = RecordIter::new(header(1, 0), &records).next().unwrap().unwrap();
    assert_eq!((record.headers.len(), record.headers.is_empty()), (4, false));
    for _ in 0..2 {
        let read: Vec<_> = record.headers.into_iter().map(|h| (h.key, h.value)).collect();
        assert_eq!(read, expected);
    }
    assert_eq!(record.headers.iter().len(), 4);
}
