//! Round trips, the bytes of version 1, and any bytes at all.

use proptest::prelude::*;

use super::*;
use crate::fixtures::{alter_broker_config, alter_quotas, each_command, replace, replacement, used_image};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

/// The bytes that level 1 writes, by name. They are on people's disks: they may be added to, never changed.
const GOLDEN: &str = include_str!("../../tests/golden/level-1.txt");

/// What level 2 has beyond it.
const GOLDEN_2: &str = include_str!("../../tests/golden/level-2.txt");

fn golden() -> Vec<(&'static str, Vec<u8>)> {
    let lines = GOLDEN.lines().chain(GOLDEN_2.lines()).filter(|l| !l.starts_with('#') && !l.is_empty());
    lines.map(|l| l.split_once(' ').unwrap()).map(|(name, bytes)| (name, unhex(bytes))).collect()
}

/// Compacted, with quotas and with settings of brokers.
fn image_of_level_2() -> Image {
    let compaction = replace(1, vec![replacement(&[2], 9, 100, 150)], 120);
    let compacted = crate::apply::apply(&used_image(), &compaction).unwrap().0;
    let changed = [alter_quotas(), alter_broker_config(None), alter_broker_config(Some(NodeId(1)))];
    changed.iter().fold(compacted, |image, command| crate::apply::apply(&image, command).unwrap().0)
}

#[test]
fn each_command_round_trips() {
    for (name, command) in each_command() {
        let bytes = encode_entry(std::slice::from_ref(&command));
        assert_eq!(decode_entry(&bytes).as_deref(), Ok(&[command][..]), "{name}");
    }
    let all: Vec<_> = each_command().into_iter().map(|(_, c)| c).collect();
    assert_eq!(decode_entry(&encode_entry(&all)), Ok(all));
    assert_eq!(decode_entry(&encode_entry(&[])), Ok(vec![]));
}

#[test]
fn an_image_round_trips() {
    for image in [Image::default(), used_image(), image_of_level_2()] {
        let back = decode_image(&encode_image(&image)).unwrap();
        assert_eq!(back, image);
        back.check();
    }
}

#[test]
fn what_level_1_wrote_is_read_as_ever() {
    let golden = golden();
    let find = |name: &str| golden.iter().find(|(n, _)| *n == name).map(|(_, bytes)| bytes.clone());
    let mut missing = String::new();
    for (name, command) in each_command() {
        let entry = encode_entry(std::slice::from_ref(&command));
        match find(name) {
            Some(bytes) => {
                assert_eq!(decode_entry(&bytes), Ok(vec![command]), "{name}");
                assert_eq!(hex(&entry), hex(&bytes), "{name} is written otherwise");
            }
            None => missing += &format!("{name} {}\n", hex(&entry)),
        }
    }
    for (name, image) in [("image", used_image()), ("image-of-level-2", image_of_level_2())] {
        let written = encode_image(&image);
        match find(name) {
            Some(bytes) => {
                assert_eq!(decode_image(&bytes), Ok(image));
                assert_eq!(hex(&written), hex(&bytes), "{name} is written otherwise");
            }
            None => missing += &format!("{name} {}\n", hex(&written)),
        }
    }
    assert!(missing.is_empty(), "add these lines:\n{missing}");
    assert_eq!(golden.len(), each_command().len() + 2, "a golden line that nothing reads");
}

#[test]
fn a_later_level_is_named_as_such() {
    // [[3, [0]]]: a command of level 3, whatever it is.
    let later = [1, 0x81, 0x82, 0x03, 0x81, 0x00];
    assert_eq!(decode_entry(&later), Err(EncodingError::Newer { found: 3 }));
    assert_eq!(decode_image(&[1, 0x82, 0x03, 0x80]), Err(EncodingError::Newer { found: 3 }));
    assert_eq!(decode_entry(&[2]), Err(EncodingError::Newer { found: 2 }));
    let text = EncodingError::Newer { found: 3 }.to_string();
    assert!(text.contains("level 3") && text.contains("understands 2"), "{text}");
}

#[test]
fn an_image_is_of_the_level_that_something_in_it_needs() {
    let before = encode_image(&used_image());
    assert_eq!(before[2], 1, "nothing is compacted: an older version reads it");
    let compacted =
        crate::apply::apply(&used_image(), &replace(1, vec![replacement(&[2], 9, 100, 150)], 120));
    let compacted = compacted.unwrap().0;
    let bytes = encode_image(&compacted);
    assert_eq!((bytes[2], decode_image(&bytes)), (2, Ok(compacted)));
    let limited = crate::apply::apply(&used_image(), &alter_quotas()).unwrap().0;
    let bytes = encode_image(&limited);
    assert_eq!((bytes[2], decode_image(&bytes)), (2, Ok(limited)));
}

#[test]
fn what_is_no_entry_is_refused() {
    // No bytes; format 0; nothing; an array without a length; no level; level 0; an unknown variant; bytes behind.
    let wrong: [&[u8]; 8] = [
        &[],
        &[0, 0x80],
        &[1],
        &[1, 0x9f, 0xff],
        &[1, 0x81, 0x81, 0x01],
        &[1, 0x81, 0x82, 0x00, 0x80],
        &[1, 0x81, 0x82, 0x01, 0x82, 0x18, 0x63, 0x80],
        &[1, 0x80, 0x00],
    ];
    for bytes in wrong {
        assert!(matches!(decode_entry(bytes), Err(EncodingError::Malformed(_))), "{bytes:?}");
    }
}

#[test]
fn every_cut_of_an_entry_or_image_is_refused() {
    let all: Vec<_> = each_command().into_iter().map(|(_, c)| c).collect();
    let (entry, image) = (encode_entry(&all), encode_image(&used_image()));
    for cut in 0..entry.len() {
        assert!(decode_entry(&entry[..cut]).is_err(), "{cut} of {}", entry.len());
    }
    for cut in 0..image.len() {
        assert!(decode_image(&image[..cut]).is_err(), "{cut} of {}", image.len());
    }
}

#[test]
fn an_announced_length_allocates_nothing() {
    // An array, and a string, of 2^62 items.
    let huge = [&[1u8, 0x9b][..], &(1u64 << 62).to_be_bytes()].concat();
    assert!(decode_entry(&huge).is_err());
    let name = [&[1u8, 0x81, 0x82, 0x01, 0x82, 0x0a, 0x81, 0x7b][..], &(1u64 << 62).to_be_bytes()].concat();
    assert!(decode_entry(&name).is_err());
}

proptest! {
    #[test]
    fn any_bytes_decode_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_entry(&bytes);
        let _ = decode_image(&bytes);
    }

    #[test]
    fn damaged_bytes_decode_without_panic(at in any::<prop::sample::Index>(), to in any::<u8>(), of_image in any::<bool>()) {
        let all: Vec<_> = each_command().into_iter().map(|(_, c)| c).collect();
        let mut bytes = if of_image { encode_image(&used_image()) } else { encode_entry(&all) };
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = decode_entry(&bytes);
        let _ = decode_image(&bytes);
    }
}
