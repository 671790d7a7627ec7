use proptest::prelude::*;

use super::*;

fn whole(records: &[u8]) -> Vec<u8> {
    let header =
        BatchHeader { batch_length: 49 + records.len() as i32, record_count: 1, ..BatchHeader::default() };
    let mut out = [&header.encode()[..], records].concat();
    let crc = crc_of(&out);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

fn any_header() -> impl Strategy<Value = BatchHeader> {
    let first = (0..i64::MAX / 2, 49..i32::MAX, any::<i32>(), any::<u32>(), 0..128i16, 0..i32::MAX);
    let second = (any::<i64>(), any::<i64>(), any::<i64>(), any::<i16>(), any::<i32>(), 0..i32::MAX);
    (first, second).prop_map(|(a, b)| BatchHeader {
        base_offset: a.0,
        batch_length: a.1,
        partition_leader_epoch: a.2,
        magic: 2,
        crc: a.3,
        attributes: a.4,
        last_offset_delta: a.5,
        base_timestamp: b.0,
        max_timestamp: b.1,
        producer_id: b.2,
        producer_epoch: b.3,
        base_sequence: b.4,
        record_count: b.5,
    })
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(header in any_header()) {
        prop_assert_eq!(BatchHeader::parse(&header.encode()), Ok(header));
    }

    #[test]
    fn any_bytes_decode_within_bounds(mut bytes in prop::collection::vec(any::<u8>(), 0..90), magic in prop::bool::ANY) {
        if magic && bytes.len() > 16 {
            bytes[16] = 2;
        }
        let _ = verify_crc(&bytes);
        if let Ok(header) = BatchHeader::parse(&bytes) {
            prop_assert!(header.total_len() >= HEADER_LEN);
            prop_assert!(header.next_offset() > header.base_offset);
            prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_LEN]);
            let _ = (header.last_sequence(), header.compression());
        }
    }
}

#[test]
fn each_field_out_of_range_is_named_with_its_place() {
    let refused = |change: fn(&mut BatchHeader)| {
        let mut header = BatchHeader::default();
        change(&mut header);
        match BatchHeader::parse(&header.encode()) {
            Err(BatchError::Field { field, at, value, .. }) => {
                // The place is true: the value stands there.
                let bytes = header.encode();
                let width = match field {
                    "base_offset" => 8,
                    "attributes" => 2,
                    _ => 4,
                };
                let top = if bytes[at] & 0x80 != 0 { -1i64 } else { 0 };
                let read = bytes[at..at + width].iter().fold(top, |v, b| (v << 8) | i64::from(*b));
                assert_eq!(read, value, "{field}");
                field
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(|h| h.base_offset = -1), "base_offset");
    assert_eq!(refused(|h| h.base_offset = i64::MAX), "base_offset");
    assert_eq!(refused(|h| h.batch_length = 48), "batch_length");
    assert_eq!(refused(|h| h.batch_length = -1), "batch_length");
    assert_eq!(refused(|h| h.attributes = 128), "attributes");
    assert_eq!(refused(|h| h.attributes = i16::MIN), "attributes");
    assert_eq!(refused(|h| h.last_offset_delta = -1), "last_offset_delta");
    assert_eq!(refused(|h| h.record_count = -1), "record_count");
}

#[test]
fn errors_say_what_would_be_right() {
    let bytes = BatchHeader { record_count: -3, ..BatchHeader::default() }.encode();
    let said = BatchHeader::parse(&bytes).unwrap_err().to_string();
    assert_eq!(said, "batch header field record_count (byte 57) is -3, expected 0 or more");
}

#[test]
fn a_cut_header_is_incomplete() {
    let bytes = BatchHeader::default().encode();
    for end in 0..HEADER_LEN {
        let cut = BatchHeader::parse(&bytes[..end]);
        assert_eq!(cut, Err(BatchError::Incomplete { have: end, need: HEADER_LEN }));
    }
}

#[test]
fn attributes_are_read_bit_by_bit() {
    let with = |attributes| BatchHeader { attributes, ..BatchHeader::default() };
    for (bits, codec) in Compression::ALL.into_iter().enumerate() {
        assert_eq!(with(bits as i16).compression(), Ok(codec));
        assert_eq!(codec as usize, bits);
    }
    for bits in 5..8 {
        // Known to be a codec, not known which.
        assert!(BatchHeader::parse(&with(bits).encode()).is_ok());
        assert!(with(bits).compression().is_err());
    }
    assert_eq!(with(0).timestamp_type(), TimestampType::CreateTime);
    assert_eq!(with(8).timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!([0, 16].map(|a| with(a).is_transactional()), [false, true]);
    assert_eq!([0, 32].map(|a| with(a).is_control()), [false, true]);
    assert_eq!([0, 64].map(|a| with(a).has_delete_horizon()), [false, true]);
}

#[test]
fn sequences_wrap_to_zero() {
    let last = |base_sequence, last_offset_delta| {
        BatchHeader { producer_id: 1, base_sequence, last_offset_delta, ..BatchHeader::default() }
            .last_sequence()
    };
    assert_eq!(last(10, 4), 14);
    assert_eq!(last(i32::MAX, 0), i32::MAX);
    assert_eq!(last(i32::MAX, 1), 0);
    assert_eq!(last(i32::MAX - 1, 4), 2);
    assert_eq!(last(i32::MAX, i32::MAX), i32::MAX - 1);
    assert_eq!(last(-1, 4), -1);
}

#[test]
fn a_flipped_bit_under_the_crc_is_found_and_one_beside_it_is_not() {
    let good = whole(&[5; 40]);
    verify_crc(&good).unwrap();
    for bit in CRC_FROM * 8..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_crc(&bad).is_err(), "bit {bit}");
    }
    let mut moved = good.clone();
    moved[0..8].copy_from_slice(&77i64.to_be_bytes());
    moved[12..16].copy_from_slice(&5i32.to_be_bytes());
    verify_crc(&moved).unwrap();
    assert!(matches!(verify_crc(&good[..good.len() - 1]), Err(BatchError::Incomplete { .. })));
    // Bytes behind the batch are not its own.
    verify_crc(&[&good[..], &[1, 2, 3]].concat()).unwrap();
}

#[test]
fn the_crc_is_castagnoli() {
    // The check value of CRC-32C: "123456789" gives e3069283.
    let bytes = [&[0; CRC_FROM][..], b"123456789"].concat();
    assert_eq!(crc_of(&bytes), 0xe306_9283);
}

#[test]
fn an_emptied_batch_keeps_its_offsets_and_its_producer_and_nothing_of_its_records() {
    let original = BatchHeader {
        base_offset: 7,
        batch_length: 500,
        partition_leader_epoch: 3,
        attributes: 4 | TRANSACTIONAL_BIT | DELETE_HORIZON_BIT,
        last_offset_delta: 9,
        base_timestamp: 5,
        max_timestamp: 6,
        producer_id: 1,
        producer_epoch: 2,
        base_sequence: i32::MAX,
        record_count: 10,
        ..BatchHeader::default()
    };
    assert_eq!(original.delete_horizon(), Some(5));
    let emptied = original.emptied();
    let expected = BatchHeader {
        batch_length: 49,
        attributes: TRANSACTIONAL_BIT,
        base_timestamp: -1,
        record_count: 0,
        crc: emptied.crc,
        ..original
    };
    assert_eq!((emptied, emptied.delete_horizon()), (expected, None));
    let bytes = emptied.encode();
    assert_eq!((verify_crc(&bytes), BatchHeader::parse(&bytes)), (Ok(()), Ok(emptied)));
    assert_eq!((emptied.last_offset(), emptied.last_sequence()), (16, original.last_sequence()));
}
