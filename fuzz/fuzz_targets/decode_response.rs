//! Any response: the first four bytes choose key and version, the rest is a response frame.
#![no_main]

use buslane_wire::frame::decode_response_header;
use buslane_wire::{AnyResponse, ApiKey, Encoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[k0, k1, v0, v1], frame)) = input.split_first_chunk::<4>() else { return };
    let Some(key) = ApiKey::from_i16(i16::from_be_bytes([k0, k1])) else { return };
    let version = i16::from_be_bytes([v0, v1]);
    let Ok((_, body)) = decode_response_header(frame, key, version) else { return };
    let Ok(response) = AnyResponse::decode(key, version, body) else { return };
    let mut e = Encoder::new();
    response.encode(version, &mut e).expect("what was decoded in a version can be encoded in it");
    let bytes = e.to_vec().expect("decoded records are slices");
    let again = AnyResponse::decode(key, version, &bytes).expect("what we encode we decode");
    let mut e = Encoder::new();
    again.encode(version, &mut e).expect("what was decoded in a version can be encoded in it");
    assert_eq!(e.to_vec(), Some(bytes));
});
