//! Any bytes as records of `__consumer_offsets`, and as what members say inside of requests. A shard takes up what can be
//! read.
#![no_main]

use buslane_group::consumer::{read_assignment, read_subscription};
use buslane_group::{Config, Shard};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = (read_subscription(bytes), read_assignment(bytes));
    let mut shard = Shard::new(Config::default());
    let mut rest = bytes;
    // A key, and a value or none, each with its length before it.
    while let Some(key) = piece(&mut rest) {
        let value = piece(&mut rest);
        let _ = shard.replay(key, value);
    }
    assert!(shard.groups().count() <= bytes.len());
    assert!(shard.offsets().count() <= bytes.len());
});

fn piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, after) = rest.split_first()?;
    if len == u8::MAX {
        *rest = after;
        return None;
    }
    let (piece, after) = after.split_at_checked(usize::from(len))?;
    *rest = after;
    Some(piece)
}
