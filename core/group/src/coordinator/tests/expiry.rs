//! KIP-211: offsets live for the retention after they are of no use to a group.

use super::*;
use crate::classic::GroupState;
use crate::config::Config;

/// Retention 100 s, looked for each second.
fn world() -> World {
    World::with(Config {
        offsets_retention_ms: 100_000,
        offsets_retention_check_interval_ms: 1_000,
        ..Config::default()
    })
}

#[test]
fn a_simple_consumers_offsets_expire_one_by_one_and_the_group_with_the_last() {
    let mut w = world();
    w.ask_commit(commit("g", -1, "", "t", 1));
    w.pass(50_000);
    w.ask_commit(commit("g", -1, "", "u", 2));
    w.pass(51_000);
    assert_eq!((w.offset("g", "t", 0), w.offset("g", "u", 0)), (-1, 2));
    assert_eq!(w.state("g"), GroupState::Empty);
    w.pass(50_000);
    assert_eq!((w.offset("g", "u", 0), w.state("g")), (-1, GroupState::Dead));
    w.restart();
    assert_eq!((w.offset("g", "u", 0), w.state("g")), (-1, GroupState::Dead));
}

#[test]
fn a_commit_renews_an_offset() {
    let mut w = world();
    for _ in 0..5 {
        w.ask_commit(commit("g", -1, "", "t", 1));
        w.pass(90_000);
    }
    assert_eq!(w.offset("g", "t", 0), 1);
}

/// A group with members keeps the offsets of what they subscribe to, however old, and loses the others.
#[test]
fn members_keep_the_offsets_of_their_topics() {
    let mut w = world();
    let ids = w.stable("g", 1);
    w.ask_commit(commit("g", 1, &ids[0], "t", 1));
    w.ask_commit(commit("g", 1, &ids[0], "u", 2));
    for _ in 0..30 {
        w.pass(5_000);
        w.beat("g", 1, &ids[0]);
    }
    assert_eq!((w.offset("g", "t", 0), w.offset("g", "u", 0)), (1, -1));
}

/// Of other protocol types nothing expires while they have members.
#[test]
fn members_of_other_protocols_keep_everything() {
    let mut w = world();
    w.ask_commit(commit("g", -1, "", "u", 2));
    let waiting = w.send_join(JoinGroup { protocol_type: "connect".into(), version: 3, ..join("g", "") });
    w.pass(3_000);
    let id = w.joined(waiting).member_id;
    w.ask_sync(sync("g", 1, &id, &[]));
    for _ in 0..30 {
        w.pass(5_000);
        w.beat("g", 1, &id);
    }
    assert_eq!(w.offset("g", "u", 0), 2);
}

/// The retention of a group's offsets runs from when it became empty, not from the commits; through a restart too.
#[test]
fn an_empty_groups_offsets_live_for_the_retention_from_when_it_emptied() {
    let mut w = world();
    let ids = w.stable("g", 1);
    w.ask_commit(commit("g", 1, &ids[0], "t", 1));
    for _ in 0..30 {
        w.pass(5_000);
        w.beat("g", 1, &ids[0]);
    }
    w.ask(Request::LeaveGroup(leave("g", &ids[0])));
    w.pass(60_000);
    w.restart();
    w.pass(39_000);
    assert_eq!((w.offset("g", "t", 0), w.state("g")), (1, GroupState::Empty));
    w.pass(2_000);
    assert_eq!((w.offset("g", "t", 0), w.state("g")), (-1, GroupState::Dead));
    w.restart();
    assert_eq!(w.state("g"), GroupState::Dead);
}

/// Not as Kafka, which forgets the id it has just given out when the look for expired groups comes between.
#[test]
fn a_group_whose_first_member_is_on_its_way_stays() {
    let mut w = world();
    let told = w.ask_join(join("g", ""));
    w.pass(5_000);
    assert_eq!(w.state("g"), GroupState::Empty);
    w.send_join(join("g", &told.member_id));
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
}

#[test]
fn one_run_makes_a_bounded_number_of_records() {
    let mut w = world();
    let config = Config { expiry_batch: 4, ..w.shard.config.clone() };
    w.shard.set_config(config);
    for group in 0..5 {
        for topic in ["t", "u"] {
            w.ask_commit(commit(&format!("g{group}"), -1, "", topic, 1));
        }
    }
    let ended = w.now + 100_000;
    w.pass(99_000);
    w.commits = false;
    w.pass(2_000);
    assert!(
        w.in_flight.iter().all(|append| append.records.len() <= 5),
        "a group's own tombstone may come on top"
    );
    assert_eq!(w.in_flight.iter().map(|append| append.records.len()).sum::<usize>(), 15);
    w.commit_all();
    assert_eq!(w.shard.groups().count(), 0);
    assert!(w.now >= ended);
}
