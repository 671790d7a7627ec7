//! Where a response has its throttle time, so that it can be filled in once the response is made (KIP-219).
//!
//! What a request used is known at its end, and most responses begin with the field. Where it stands behind others, in
//! Produce and ApiVersions, the handler puts it in.

use buslane_wire::frame::response_header_version;
use buslane_wire::schema::Type;
use buslane_wire::{ApiKey, Encoder};

/// Its place in a response frame, its size included; none where a version has none.
fn place(key: ApiKey, version: i16) -> Option<usize> {
    let header = 4 + if response_header_version(key as i16, version) >= 1 { 1 } else { 0 };
    let mut place = 4 + header;
    for field in key.response().body.fields.iter().filter(|f| f.versions.contains(version) && f.tag.is_none())
    {
        if field.name == "ThrottleTimeMs" {
            return Some(place);
        }
        place += match field.ty {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            _ => return None,
        };
    }
    None
}

/// Writes it into an encoded response.
pub fn tell(encoder: &mut Encoder, key: ApiKey, version: i16, throttle_time_ms: i32) {
    if let Some(place) = place(key, version) {
        encoder.overwrite(place, &throttle_time_ms.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::frame::encode_response;
    use buslane_wire::messages as m;
    use buslane_wire::{Message, decode};

    use super::super::SERVED;
    use super::*;

    const BY_HANDLER: [ApiKey; 2] = [ApiKey::Produce, ApiKey::ApiVersions];

    #[test]
    fn each_response_with_a_throttle_time_has_its_place() {
        for served in SERVED.iter().filter(|served| !BY_HANDLER.contains(&served.key)) {
            for version in served.first..=served.last {
                let fields = served.key.response().body.fields;
                let has = fields.iter().any(|f| f.name == "ThrottleTimeMs" && f.versions.contains(version));
                assert_eq!(place(served.key, version).is_some(), has, "{} {version}", served.key.name());
            }
        }
    }

    #[test]
    fn it_is_told_where_clients_read_it() {
        fn told<M: Message>(key: ApiKey, version: i16, response: &M) -> Vec<u8> {
            let mut encoder = Encoder::new();
            encode_response(&mut encoder, 7, version, response).unwrap();
            tell(&mut encoder, key, version, 1_234);
            let (_, body) =
                buslane_wire::frame::decode_response_header(&encoder.buffer()[4..], key, version).unwrap();
            body.to_vec()
        }
        let metadata = m::MetadataResponse::default();
        for version in [3, 8, 9, 13] {
            let body = told(ApiKey::Metadata, version, &metadata);
            assert_eq!(decode::<m::MetadataResponse<'_>>(&body, version).unwrap().throttle_time_ms, 1_234);
        }
        assert_eq!(
            decode::<m::MetadataResponse<'_>>(&told(ApiKey::Metadata, 2, &metadata), 2).unwrap(),
            metadata,
            "version 2 has none"
        );
        let deleted =
            m::OffsetDeleteResponse { error_code: Default::default(), throttle_time_ms: 0, topics: vec![] };
        let body = told(ApiKey::OffsetDelete, 0, &deleted);
        assert_eq!(decode::<m::OffsetDeleteResponse<'_>>(&body, 0).unwrap().throttle_time_ms, 1_234);
    }
}
