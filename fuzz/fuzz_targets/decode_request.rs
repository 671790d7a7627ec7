//! Any request frame: decoding never panics, and what decodes encodes to something that decodes to the same.
#![no_main]

use buslane_wire::frame::RequestHeader;
use buslane_wire::{AnyRequest, ApiKey, Encoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let Ok((header, body)) = RequestHeader::decode(frame) else { return };
    let Some(key) = ApiKey::from_i16(header.api_key) else { return };
    let version = header.api_version;
    let Ok(request) = AnyRequest::decode(key, version, body) else { return };
    let mut e = Encoder::new();
    request.encode(version, &mut e).expect("what was decoded in a version can be encoded in it");
    let bytes = e.to_vec().expect("decoded records are slices");
    let again = AnyRequest::decode(key, version, &bytes).expect("what we encode we decode");
    // Not `again == request`: a NaN differs from itself.
    let mut e = Encoder::new();
    again.encode(version, &mut e).expect("what was decoded in a version can be encoded in it");
    assert_eq!(e.to_vec(), Some(bytes));
});
