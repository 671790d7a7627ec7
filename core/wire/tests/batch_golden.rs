//! Batches as real clients wrote them, in `golden/`: each file names client, version and codec in its first line.
//!
//! Each client sent the same records to a broker of ours in one batch; the bytes are those of the segment file, so that
//! base offset and leader epoch are the broker's and the rest is the client's. Adding one: produce [`expected`] to a
//! new topic's partition 0 with a linger time that keeps the records together, and take the first batch of the file.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use buslane_wire::batch::{
    BatchHeader, BatchRecords, Batches, Compression, HEADER_LEN, TimestampType, verify_crc,
};

/// Timestamp, key, value and headers of a record.
type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

struct Golden {
    /// Client and codec: the file's name.
    name: String,
    client: String,
    codec: Compression,
    bytes: Vec<u8>,
}

fn goldens() -> Vec<Golden> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut goldens: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let (client, codec) = name.rsplit_once('-').unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
            let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
            Golden {
                client: client.to_owned(),
                codec: Compression::ALL.into_iter().find(|c| c.name() == codec).unwrap(),
                bytes: bytes.collect::<Result<_, _>>().unwrap(),
                name,
            }
        })
        .collect();
    goldens.sort_by(|a, b| a.name.cmp(&b.name));
    goldens
}

const SENT_AT: i64 = 1_700_000_000_000;

/// What every client sent; the long value only with a codec.
fn expected(client: &str, codec: Compression) -> Vec<Owned> {
    let bytes = |b: &[u8]| Some(b.to_vec());
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let mut repeated = vec![header("h", Some(b"1")), header("h", Some(b"2"))];
    // These two send no header without a value.
    if !["kafka-python", "kafkajs"].contains(&client) {
        repeated.push(header("null", None));
    }
    repeated.push(header("", Some(b"")));
    let mut records = vec![
        (SENT_AT, bytes(b"key"), bytes(b"value"), repeated),
        (SENT_AT + 5, None, bytes(b""), vec![]),
        (SENT_AT - 3, bytes(b""), None, vec![]),
        (
            SENT_AT + 1000,
            bytes("ключ".as_bytes()),
            bytes(b"value value value"),
            vec![header("é", Some(&[0, 255]))],
        ),
    ];
    if codec != Compression::None {
        // More than one chunk of snappy-java and one block of lz4.
        records.push((SENT_AT + 1001, bytes(b"long"), bytes(&b"abcdefghij".repeat(7000)), vec![]));
    }
    records
}

#[test]
fn batches_of_real_clients_are_read() {
    for Golden { name, client, codec, bytes } in goldens() {
        let expected = expected(&client, codec);
        verify_crc(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.total_len(), bytes.len(), "{name}");
        assert_eq!(header.compression(), Ok(codec), "{name}");
        assert_eq!((header.base_offset, header.partition_leader_epoch), (0, 0), "{name}");
        assert_eq!(header.timestamp_type(), TimestampType::CreateTime, "{name}");
        assert!(!header.is_control() && !header.is_transactional() && !header.has_delete_horizon(), "{name}");
        assert_eq!(header.record_count as usize, expected.len(), "{name}");
        assert_eq!(header.last_offset_delta, header.record_count - 1, "{name}");
        assert_eq!(header.max_timestamp, expected.iter().map(|r| r.0).max().unwrap(), "{name}");
        assert_eq!(header.encode(), bytes[..HEADER_LEN], "{name}");
        // Both were sent idempotently, by default or as asked.
        let idempotent = ["kafka-clients", "librdkafka"].contains(&client.as_str());
        assert_eq!(header.has_producer(), idempotent, "{name}");
        if idempotent {
            assert_eq!(
                (header.producer_epoch, header.last_sequence()),
                (0, header.last_offset_delta),
                "{name}"
            );
        }

        let records = BatchRecords::open(&bytes, 80_000).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut read = Vec::new();
        for (number, record) in records.iter().enumerate() {
            let record = record.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(record.offset_delta as usize, number, "{name}");
            let headers = record
                .headers
                .iter()
                .map(|h| (String::from_utf8(h.key.to_vec()).unwrap(), h.value.map(<[u8]>::to_vec)));
            read.push((
                record.timestamp,
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
                headers.collect(),
            ));
        }
        assert_eq!(read, expected, "{name}");

        if codec != Compression::None {
            // A limit below the long value.
            assert!(BatchRecords::open(&bytes, 70_000).is_err(), "{name}");
        }
    }
}

#[test]
fn they_stand_one_after_another() {
    let goldens = goldens();
    let all: Vec<u8> = goldens.iter().flat_map(|g| g.bytes.clone()).collect();
    let walked: Vec<_> = Batches::new(&all).collect::<Result<_, _>>().unwrap();
    assert_eq!(walked.len(), goldens.len());
    for ((_, _, bytes), golden) in walked.iter().zip(&goldens) {
        assert_eq!(*bytes, golden.bytes, "{}", golden.name);
    }
}

/// The set is what the tests above say it is: every codec by several clients, and both framings of snappy.
#[test]
fn the_set_covers_every_codec_and_both_snappy_framings() {
    let mut clients: BTreeMap<&str, usize> = BTreeMap::new();
    let mut xerial = [0, 0];
    let goldens = goldens();
    for golden in &goldens {
        *clients.entry(golden.codec.name()).or_default() += 1;
        if golden.codec == Compression::Snappy {
            xerial[usize::from(golden.bytes[HEADER_LEN..].starts_with(b"\x82SNAPPY\0"))] += 1;
        }
    }
    assert_eq!(clients.len(), Compression::ALL.len(), "{clients:?}");
    assert!(clients.values().all(|count| *count >= 4), "{clients:?}");
    assert!(xerial.iter().all(|count| *count > 0), "{xerial:?}");
}
