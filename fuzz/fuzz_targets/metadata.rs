//! Any bytes as entries and snapshots of the metadata log: what can be read is written again and read the same.
#![no_main]

use buslane_meta::encoding::{decode_entry, decode_image, encode_entry, encode_image};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(commands) = decode_entry(bytes) {
        let again = decode_entry(&encode_entry(&commands)).expect("what we write we read");
        assert_eq!(again, commands);
    }
    if let Ok(image) = decode_image(bytes) {
        let again = decode_image(&encode_image(&image)).expect("what we write we read");
        assert_eq!(again, image);
    }
});
