//! Every message in every version: valid bytes survive, hostile bytes do no harm.
#![allow(clippy::unwrap_used)]

mod generate;

use buslane_wire::frame::RequestHeader;
use buslane_wire::{AnyRequest, AnyResponse, ApiKey, HEAP_BYTES_PER_INPUT_BYTE, schema};
use generate::{Rng, all_messages, body, recode};

#[test]
fn decoding_and_encoding_again_gives_the_same_bytes() {
    for (key, schema, version) in all_messages() {
        for seed in 0..60 {
            let bytes = body(schema, version, &mut Rng(seed));
            let again = recode(key, schema.response, version, &bytes);
            assert_eq!(again.as_ref(), Ok(&bytes), "{} v{version} seed {seed}", schema.name);
        }
    }
}

#[test]
fn request_and_response_cover_the_same_versions() {
    for key in ApiKey::ALL {
        assert_eq!(key.request().versions, key.response().versions, "{key:?}");
        assert_eq!(key.request().flexible.first, key.response().flexible.first, "{key:?}");
        assert_eq!((key.request().key, key.response().key), (*key as i16, *key as i16));
        assert_eq!(ApiKey::from_i16(*key as i16), Some(*key));
        assert_eq!(key.request().name, format!("{}Request", key.name()));
        assert_eq!(key.response().name, format!("{}Response", key.name()));
    }
}

/// Decodes without caring for the outcome.
fn try_decode(key: ApiKey, response: bool, version: i16, bytes: &[u8]) {
    if response {
        let _ = AnyResponse::decode(key, version, bytes);
    } else {
        let _ = AnyRequest::decode(key, version, bytes);
    }
}

#[test]
fn every_prefix_of_a_valid_message_is_refused() {
    for (key, schema, version) in all_messages() {
        let bytes = body(schema, version, &mut Rng(1));
        for len in 0..bytes.len() {
            let outcome = recode(key, schema.response, version, &bytes[..len]);
            assert!(outcome.is_err(), "{} v{version} cut to {len} of {}", schema.name, bytes.len());
        }
    }
}

#[test]
fn bytes_after_a_message_are_refused() {
    for (key, schema, version) in all_messages() {
        let mut bytes = body(schema, version, &mut Rng(2));
        bytes.push(0);
        assert!(recode(key, schema.response, version, &bytes).is_err(), "{} v{version}", schema.name);
    }
}

#[test]
fn mutated_messages_never_panic() {
    let mut rng = Rng(3);
    for (key, schema, version) in all_messages() {
        for _ in 0..40 {
            let mut bytes = body(schema, version, &mut rng);
            for _ in 0..=rng.below(4) {
                if bytes.is_empty() {
                    break;
                }
                let at = rng.below(bytes.len());
                match rng.below(5) {
                    0 => bytes[at] = rng.next() as u8,
                    1 => bytes[at] ^= 1 << rng.below(8),
                    2 => bytes[at] = 0xff,
                    3 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at),
                }
            }
            try_decode(key, schema.response, version, &bytes);
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut rng = Rng(4);
    for (key, schema, version) in all_messages() {
        for _ in 0..40 {
            let bytes: Vec<u8> = (0..rng.below(64)).map(|_| rng.next() as u8).collect();
            try_decode(key, schema.response, version, &bytes);
            let _ = RequestHeader::decode(&bytes);
        }
    }
}

#[test]
fn versions_beyond_the_known_are_refused() {
    for key in ApiKey::ALL {
        for schema in [key.request(), key.response()] {
            for version in [i16::MIN, -1, schema.versions.first - 1, schema.versions.last + 1, i16::MAX] {
                assert!(
                    recode(*key, schema.response, version, &[0; 64]).is_err(),
                    "{} v{version}",
                    schema.name
                );
            }
        }
    }
}

/// The decoder charges each array element against a budget of so many bytes per byte of input. If no element can cost
/// more than that, then no valid message is ever refused for it.
#[test]
fn no_valid_message_outgrows_the_heap_budget() {
    fn least(ty: schema::Type, nullable: bool, version: i16, flexible: bool) -> usize {
        match ty {
            schema::Type::Bool | schema::Type::Int8 => 1,
            schema::Type::Int16 | schema::Type::Uint16 => 2,
            schema::Type::Int32 => 4,
            schema::Type::Int64 | schema::Type::Float64 => 8,
            schema::Type::Uuid => 16,
            schema::Type::String if !flexible => 2,
            schema::Type::Bytes | schema::Type::Records | schema::Type::Array(_) if !flexible => 4,
            schema::Type::String | schema::Type::Bytes | schema::Type::Records | schema::Type::Array(_) => 1,
            schema::Type::Struct(_) if nullable => 1,
            schema::Type::Struct(inner) => least_struct(inner, version, flexible),
        }
    }
    fn least_struct(schema: &schema::Struct, version: i16, flexible: bool) -> usize {
        let fields = schema.fields.iter().filter(|f| f.tag.is_none() && f.versions.contains(version));
        fields.map(|f| least(f.ty, !f.nullable.is_empty(), version, flexible)).sum::<usize>()
            + usize::from(flexible)
    }
    fn check(schema: &schema::Struct, version: i16, flexible: bool, worst: &mut (usize, &'static str)) {
        for field in schema.fields {
            let (mut ty, mut in_array) = (field.ty, false);
            while let schema::Type::Array(element) = ty {
                (ty, in_array) = (*element, true);
            }
            if let schema::Type::Struct(inner) = ty {
                if in_array && field.versions.contains(version) {
                    let ratio = inner.heap_size.div_ceil(least_struct(inner, version, flexible));
                    *worst = (*worst).max((ratio, inner.name));
                }
                check(inner, version, flexible, worst);
            }
        }
    }
    let mut worst = (0, "");
    for (_, schema, version) in all_messages() {
        check(schema.body, version, schema.flexible.contains(version), &mut worst);
    }
    println!("worst: {worst:?}");
    assert!(worst.0 <= HEAP_BYTES_PER_INPUT_BYTE, "{worst:?}");
}
