//! Any bytes as records of `__consumer_offsets`, and as what members say inside of requests. A shard takes up what can be
//! read, and then serves: deadlines pass, members that come and go are answered.
#![no_main]

use buslane_group::api::Effects;
use buslane_group::consumer::{TopicTable, TopicsView, read_assignment, read_subscription};
use buslane_group::records::{self, Parsed};
use buslane_group::{Config, Shard};
use buslane_wire::ids::TopicId;
use libfuzzer_sys::fuzz_target;

/// Deadlines that pass; a group that sets itself one again and again would go on for ever.
const DEADLINES: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let _ = (read_subscription(bytes), read_assignment(bytes));
    let mut topics = TopicTable::new();
    topics.set("orders", TopicId([1; 16]), 4);
    let mut shard = Shard::new(Config::default());
    let mut rest = bytes;
    // A key, and a value or none, each with its length before it.
    while let Some(key) = piece(&mut rest) {
        let value = piece(&mut rest);
        let _ = shard.replay(key, value);
    }
    let mut now_ms = 1_000_000;
    let effects = shard.loaded(now_ms);
    write(&mut shard, now_ms, effects);
    for _ in 0..DEADLINES {
        let Some(deadline) = shard.next_deadline() else { break };
        now_ms = now_ms.max(deadline);
        let effects = shard.on_time(now_ms, &topics as &dyn TopicsView);
        write(&mut shard, now_ms, effects);
    }
    assert!(shard.groups().count() <= bytes.len());
    assert!(shard.offsets().count() <= bytes.len());
});

/// Everything that a shard writes can be read by another one.
fn write(shard: &mut Shard, now_ms: i64, mut effects: Effects) {
    while let Some(append) = effects.append {
        for record in &append.records {
            let parsed = records::parse(&record.key, record.value.as_deref());
            assert!(matches!(parsed, Ok(Parsed::Known(_))), "{parsed:?}");
        }
        effects = shard.committed(now_ms, append.id);
    }
}

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
