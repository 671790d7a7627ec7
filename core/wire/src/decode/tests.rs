use super::*;
use crate::messages::fetch::FetchRequest;
use crate::messages::metadata::MetadataRequest;
use crate::{decode, messages};

fn decoder(bytes: &[u8], flexible: bool) -> Decoder<'_> {
    let mut d = Decoder::new(bytes, 7, flexible);
    d.at("Field");
    d
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, DecodeError>) -> DecodeErrorKind {
    outcome.expect_err("must be refused").kind
}

#[test]
fn numbers_are_big_endian() {
    let mut d = decoder(&[0xff, 0x01, 0x02, 0x80, 0, 0, 0, 1, 0, 0, 0], false);
    assert_eq!(i8::decode(&mut d), Ok(-1));
    assert_eq!(u16::decode(&mut d), Ok(0x0102));
    assert_eq!(i32::decode(&mut d), Ok(i32::MIN));
    assert_eq!(bool::decode(&mut d), Ok(true));
    assert_eq!(
        i32::decode(&mut d),
        Err(DecodeError {
            field: "Field",
            position: 8,
            kind: DecodeErrorKind::Truncated { needed: 4, remaining: 3 }
        })
    );
}

#[test]
fn varints_hold_32_bits_and_no_more() {
    assert_eq!(decoder(&[0xac, 0x02], true).unsigned_varint(), Ok(300));
    assert_eq!(decoder(&[0xff, 0xff, 0xff, 0xff, 0x0f], true).unsigned_varint(), Ok(u32::MAX));
    assert_eq!(
        kind(decoder(&[0xff, 0xff, 0xff, 0xff, 0x1f], true).unsigned_varint()),
        DecodeErrorKind::Varint
    );
    assert_eq!(kind(decoder(&[0x80; 9], true).unsigned_varint()), DecodeErrorKind::Varint);
    assert!(matches!(kind(decoder(&[0x80], true).unsigned_varint()), DecodeErrorKind::Truncated { .. }));
}

#[test]
fn strings_are_borrowed_and_bounded() {
    let input = [0, 2, b'o', b'k'];
    let text = <&str>::decode(&mut decoder(&input, false)).unwrap();
    assert_eq!((text, text.as_ptr()), ("ok", input[2..].as_ptr()));
    assert_eq!(<&str>::decode(&mut decoder(&[3, b'o', b'k'], true)), Ok("ok"));

    assert_eq!(kind(<&str>::decode(&mut decoder(&[0xff, 0xff], false))), DecodeErrorKind::Null);
    assert_eq!(kind(<&str>::decode(&mut decoder(&[0], true))), DecodeErrorKind::Null);
    assert_eq!(decoder(&[0], true).nullable_string(true), Ok(None));
    assert_eq!(kind(decoder(&[0], true).nullable_string(false)), DecodeErrorKind::Null);
    assert_eq!(kind(<&str>::decode(&mut decoder(&[0xff, 0xfe], false))), DecodeErrorKind::NegativeLength(-2));
    assert_eq!(kind(<&str>::decode(&mut decoder(&[2, 0xff], true))), DecodeErrorKind::NotUtf8);
    // 32,768 bytes that are all there: only the compact form can say it, and Kafka refuses it, too.
    let mut long = vec![0x81, 0x80, 0x02];
    long.extend([b'x'; 32_768]);
    assert_eq!(kind(<&str>::decode(&mut decoder(&long, true))), DecodeErrorKind::StringTooLong(32_768));
}

#[test]
fn an_array_is_refused_before_its_first_element() {
    let too_many = |count, limit| DecodeErrorKind::TooManyElements { count, limit };
    assert_eq!(kind(decoder(&[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0], false).array::<i32>()), too_many(3, 2));
    assert_eq!(kind(decoder(&[4, 0, 0, 0, 0], true).array::<i16>()), too_many(3, 2));
    assert_eq!(
        kind(decoder(&[0x80, 0, 0, 0], false).array::<i32>()),
        DecodeErrorKind::NegativeLength(i32::MIN)
    );
    assert_eq!(decoder(&[0xff; 4], false).nullable_array::<i32>(true), Ok(None));
    assert_eq!(kind(decoder(&[0xff; 4], false).array::<i32>()), DecodeErrorKind::Null);

    let mut million = (MAX_ARRAY_ELEMENTS as i32 + 1).to_be_bytes().to_vec();
    million.resize(4 + MAX_ARRAY_ELEMENTS + 1, 0);
    assert_eq!(kind(decoder(&million, false).array::<i8>()), too_many(1_000_001, 1_000_000));
    million[..4].copy_from_slice(&(MAX_ARRAY_ELEMENTS as i32).to_be_bytes());
    assert_eq!(decoder(&million, false).array::<i8>().unwrap().len(), 1_000_000);
}

/// No message of ours needs it; a message declared later might.
#[test]
fn decoded_structs_are_charged_to_a_budget() {
    #[derive(Debug)]
    struct Large {
        _bytes: [u8; 200],
    }
    impl<'a> Decode<'a> for Large {
        fn min_size(_version: i16, _flexible: bool) -> usize {
            1
        }
        fn decode(d: &mut Decoder<'a>) -> Result<Large, DecodeError> {
            d.take(1)?;
            Ok(Large { _bytes: [0; 200] })
        }
    }
    let outcome = decoder(&[6, 0, 0, 0, 0, 0], true).array::<Large>();
    assert_eq!(kind(outcome), DecodeErrorKind::HeapBudget { needed: 1000, budget: 384 });
    assert_eq!(decoder(&[2, 0, 0, 0, 0, 0], true).array::<Large>().unwrap().len(), 1);
}

#[test]
fn unknown_tagged_fields_are_skipped_and_counted() {
    // Metadata v9: topics null, three bools, then tags.
    let body = |tags: &[u8]| [&[0, 1, 0, 0], tags].concat();
    let expected = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(decode(&body(&[0]), 9), Ok(expected.clone()));
    assert_eq!(decode(&body(&[2, 5, 3, 9, 9, 9, 200, 1, 0]), 9), Ok(expected));

    let outcome = |tags: &[u8]| kind(decode::<MetadataRequest>(&body(tags), 9));
    assert_eq!(outcome(&[0x91, 0x4e]), DecodeErrorKind::TooManyTags(10_001));
    assert_eq!(outcome(&[1, 5, 3, 9]), DecodeErrorKind::Truncated { needed: 3, remaining: 1 });
    assert_eq!(outcome(&[0, 7]), DecodeErrorKind::TrailingBytes(1));
}

#[test]
fn a_known_tagged_field_ends_where_it_says() {
    let request = FetchRequest { cluster_id: Some("abc"), max_wait_ms: 1, ..Default::default() };
    let mut e = crate::Encoder::new();
    crate::encode(&request, 12, &mut e).unwrap();
    let mut bytes = e.to_vec().unwrap();
    assert_eq!(&bytes[bytes.len() - 7..], [1, 0, 4, 4, b'a', b'b', b'c']);
    assert_eq!(decode(&bytes, 12), Ok(request));
    // The tag says four bytes, the string in it wants five, although five are there.
    let at = bytes.len() - 4;
    bytes[at] = 5;
    bytes.push(b'd');
    let error = decode::<FetchRequest>(&bytes, 12).unwrap_err();
    assert_eq!(
        (error.field, error.kind),
        ("ClusterId", DecodeErrorKind::Truncated { needed: 4, remaining: 3 })
    );
    // Now the string ends before the tag does.
    bytes.pop();
    bytes[at] = 3;
    assert_eq!(kind(decode::<FetchRequest>(&bytes, 12)), DecodeErrorKind::TrailingBytes(1));
}

#[test]
fn an_error_names_field_and_position() {
    let error = decode::<messages::FindCoordinatorRequest>(&[0, 1], 0).unwrap_err();
    assert_eq!(error.to_string(), "Key at byte 2: needs 1 bytes, 0 are left");
    let error = decode::<messages::FindCoordinatorRequest>(&[], 99).unwrap_err();
    assert_eq!(error.to_string(), "FindCoordinatorRequest at byte 0: has version 99, known are 0 to 6");
}

#[test]
fn fields_of_other_versions_have_their_defaults() {
    // Replica, wait, minimum, maximum (4 bytes each), isolation (1), no topics (4).
    let request: FetchRequest<'_> = decode(&[0; 21], 4).unwrap();
    assert_eq!((request.replica_id, request.max_bytes), (0, 0), "carried by version 4");
    assert_eq!((request.session_epoch, request.rack_id), (-1, ""), "not carried");
}
