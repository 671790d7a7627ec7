//! Any bytes as each codec's: the first byte chooses codec and limit. Never more than the limit, never other bytes from
//! contexts that were used before, and what comes out comes out again after it was compressed.
#![no_main]

use std::cell::RefCell;

use buslane_wire::batch::{Compression, Compressor, Decompressor};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static USED: RefCell<(Decompressor, Compressor)> = RefCell::default();
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    let codec = Compression::ALL[usize::from(choice & 0x0f) % Compression::ALL.len()];
    let limit = [100, 10_000, 1 << 17, 1 << 20][usize::from(choice >> 4) % 4];

    let mut out = Vec::new();
    let result = Decompressor::new().decompress(codec, bytes, limit, &mut out);
    // One byte more tells a gzip bomb from what just fits.
    assert!(out.len() <= limit + 1 && out.capacity() <= limit + 1);
    USED.with_borrow_mut(|(decompressor, compressor)| {
        let mut again = Vec::new();
        assert_eq!(decompressor.decompress(codec, bytes, limit, &mut again), result);
        if result.is_err() {
            return;
        }
        assert_eq!(again, out);
        let mut packed = Vec::new();
        compressor.compress(codec, None, &out, &mut packed);
        decompressor
            .decompress(codec, &packed, out.len(), &mut again)
            .expect("what we compress we decompress");
        assert_eq!(again, out);
    });
});
