//! Decoding costs memory in proportion to the input, whatever the input says.
#![allow(clippy::unwrap_used)]

mod generate;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use buslane_wire::{AnyRequest, AnyResponse, ApiKey, HEAP_BYTES_PER_INPUT_BYTE, MAX_INITIAL_CAPACITY};
use generate::{Rng, all_messages, body};

/// Counts what the current thread has allocated, and the most it ever had at once.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is being torn down no longer counts.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    // `realloc` is the default one, alloc, copy and dealloc: the old and the new block count together.
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that decoding had allocated at once, and whether the bytes were a message.
fn peak_of(key: ApiKey, response: bool, version: i16, bytes: &[u8]) -> (usize, bool) {
    let before = LIVE.get();
    PEAK.set(before);
    let valid = if response {
        AnyResponse::decode(key, version, bytes).is_ok()
    } else {
        AnyRequest::decode(key, version, bytes).is_ok()
    };
    ((PEAK.get() - before) as usize, valid)
}

/// A vector that grows holds its old and its new block at once.
const GROWTH: usize = 2;

fn check(key: ApiKey, response: bool, version: i16, bytes: &[u8]) -> bool {
    let (peak, valid) = peak_of(key, response, version, bytes);
    let bound = GROWTH * HEAP_BYTES_PER_INPUT_BYTE * bytes.len();
    assert!(peak <= bound, "{key:?} v{version}: {peak} bytes for an input of {}", bytes.len());
    valid
}

#[test]
fn valid_messages_stay_within_the_bound() {
    for (key, schema, version) in all_messages() {
        for seed in 0..20 {
            assert!(check(key, schema.response, version, &body(schema, version, &mut Rng(seed))));
        }
    }
}

#[test]
fn mutated_messages_stay_within_the_bound() {
    let mut rng = Rng(5);
    for (key, schema, version) in all_messages() {
        for _ in 0..100 {
            let mut bytes = body(schema, version, &mut rng);
            for _ in 0..=rng.below(3) {
                let Some(at) = bytes.len().checked_sub(1).map(|last| rng.below(last + 1)) else { break };
                // Large lengths in either form.
                for (offset, value) in
                    [0xff, 0xff, 0xff, 0xff, 0x0f].into_iter().enumerate().take(1 + rng.below(5))
                {
                    if let Some(byte) = bytes.get_mut(at + offset) {
                        *byte = value;
                    }
                }
            }
            check(key, schema.response, version, &bytes);
        }
    }
}

/// Every byte the same: announces as many elements as the bytes can hold, or more, at every level.
#[test]
fn repeated_bytes_stay_within_the_bound() {
    for (key, schema, version) in all_messages() {
        for byte in [0, 1, 2, 3, 0x7f, 0x80, 0xff] {
            check(key, schema.response, version, &[byte; 4096]);
        }
    }
}

/// The five bytes that make the crate `kafka-protocol` 0.18 ask for 309 GB.
#[test]
fn a_huge_array_in_five_bytes_costs_nothing() {
    let (peak, valid) = peak_of(ApiKey::Metadata, false, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!((peak, valid), (0, false));
}

/// An array as long as the bytes behind it allow, whose first element is bad, reserves for a thousand elements only.
#[test]
fn elements_are_reserved_a_thousand_at_a_time() {
    // Metadata v0: an array of names of at least two bytes; the first one has a negative length.
    let mut bytes = 100_000_i32.to_be_bytes().to_vec();
    bytes.extend([0x80; 200_000]);
    let (peak, valid) = peak_of(ApiKey::Metadata, false, 0, &bytes);
    assert!(!valid);
    let element = size_of::<buslane_wire::messages::metadata::MetadataRequestTopic>();
    assert!(peak > 0 && peak <= MAX_INITIAL_CAPACITY * element, "{peak} bytes");
}

/// A large valid array ends with exactly the room it needs.
#[test]
fn a_large_array_is_exactly_as_large_as_its_elements() {
    let mut bytes = 100_000_i32.to_be_bytes().to_vec();
    bytes.extend([0; 200_000]);
    assert!(check(ApiKey::Metadata, false, 0, &bytes));
    let AnyRequest::Metadata(request) = AnyRequest::decode(ApiKey::Metadata, 0, &bytes).unwrap() else {
        panic!("another request")
    };
    let topics = request.topics.unwrap();
    assert_eq!((topics.len(), topics.capacity()), (100_000, 100_000));
}
