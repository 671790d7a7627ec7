use buslane_wire::{ErrorCode, messages};

use super::*;
use crate::classic::GroupState;
use crate::config::Config;

/// KIP-394: a client that never comes back with the id leaves no member behind.
#[test]
fn a_new_member_must_come_back_with_the_id_it_is_given() {
    let mut w = World::new();
    let told = w.ask_join(join("g", ""));
    assert_eq!((told.error_code, &*told.member_id), (ErrorCode::MEMBER_ID_REQUIRED, "c-1"));
    assert_eq!(w.state("g"), GroupState::Empty);
    let waiting = w.send_join(join("g", &told.member_id));
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    w.pass(3_000);
    let reply = w.joined(waiting);
    assert_eq!((reply.error_code, reply.generation), (NONE, 1));
    assert_eq!((&*reply.leader, &*reply.member_id), ("c-1", "c-1"));
    assert_eq!(reply.protocol.as_deref(), Some("range"));
    assert_eq!(reply.protocol_type.as_deref(), Some("consumer"));
    assert_eq!(reply.members.len(), 1);
    assert_eq!(reply.members[0].metadata, subscription(&["t"]));
}

#[test]
fn an_id_that_was_given_out_is_good_for_a_session_timeout() {
    let mut w = World::new();
    let told = w.ask_join(join("g", ""));
    w.pass(10_000);
    assert_eq!(w.ask_join(join("g", &told.member_id)).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn before_version_4_a_new_member_is_in_at_once() {
    let mut w = World::new();
    let waiting = w.send_join(JoinGroup { version: 3, ..join("g", "") });
    w.pass(3_000);
    assert_eq!((w.joined(waiting).error_code, w.generation("g")), (NONE, 1));
}

#[test]
fn what_is_wrong_with_a_join_is_told() {
    let mut w = World::new();
    w.stable("taken", 1);
    let cases = [
        (join("", ""), ErrorCode::INVALID_GROUP_ID),
        (JoinGroup { session_timeout_ms: 5_999, ..join("g", "") }, ErrorCode::INVALID_SESSION_TIMEOUT),
        (JoinGroup { session_timeout_ms: 1_800_001, ..join("g", "") }, ErrorCode::INVALID_SESSION_TIMEOUT),
        (join("nowhere", "c-9"), ErrorCode::UNKNOWN_MEMBER_ID),
        (join("taken", "c-9"), ErrorCode::UNKNOWN_MEMBER_ID),
        (JoinGroup { protocol_type: "".into(), ..join("g", "") }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (JoinGroup { protocols: vec![], ..join("g", "") }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (
            JoinGroup { protocol_type: "connect".into(), ..join("taken", "") },
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ),
        (
            JoinGroup { protocols: protocols(&["other"]), ..join("taken", "") },
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ),
        (static_join("taken", "c-1", "nobody"), ErrorCode::UNKNOWN_MEMBER_ID),
    ];
    for (request, error) in cases {
        let member_id = request.member_id.clone();
        let reply = w.ask_join(request.clone());
        assert_eq!((reply.error_code, reply.generation), (error, -1), "{request:?}");
        assert_eq!(reply.member_id, member_id);
    }
    // The bounds themselves are fine.
    for session_timeout_ms in [6_000, 1_800_000] {
        let reply = w.ask_join(JoinGroup { session_timeout_ms, ..join("g2", "") });
        assert_eq!(reply.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    }
}

/// A member id made of a client id of 32,767 bytes would fit no record.
#[test]
fn an_id_that_would_be_too_long_is_refused() {
    let mut w = World::new();
    let mut request = join("g", "");
    request.caller.client_id = "x".repeat(32_767).into();
    assert_eq!(w.ask_join(request).error_code, ErrorCode::INVALID_REQUEST);
}

/// `group.initial.rebalance.delay.ms`: each member that comes during the delay starts it again, up to the rebalance timeout.
#[test]
fn the_first_rebalance_waits_for_more_members() {
    let mut w = World::with(Config { initial_rebalance_delay_ms: 3_000, ..Config::default() });
    let (_, first) = w.enter("g");
    w.pass(2_000);
    let (_, second) = w.enter("g");
    w.pass(1_000);
    assert!(w.answers.is_empty(), "3 s are over, but a member came in between");
    w.pass(2_999);
    assert!(w.answers.is_empty());
    w.pass(1);
    let replies = [w.joined(first), w.joined(second)];
    assert!(replies.iter().all(|reply| reply.error_code == NONE && reply.generation == 1));
    assert_eq!(replies.iter().filter(|reply| reply.members.len() == 2).count(), 1, "only the leader");
}

#[test]
fn the_first_rebalance_does_not_wait_longer_than_the_rebalance_timeout() {
    let mut w = World::with(Config { initial_rebalance_delay_ms: 3_000, ..Config::default() });
    let short = |id: &str| JoinGroup { rebalance_timeout_ms: 7_000, version: 3, ..join("g", id) };
    let first = w.send_join(short(""));
    for _ in 0..6 {
        w.pass(1_000);
        w.send_join(short(""));
    }
    assert!(w.answers.is_empty());
    w.pass(1_000);
    assert_eq!(w.joined(first).generation, 1);
    assert_eq!(w.answers.len(), 6);
}

#[test]
fn without_a_delay_the_first_generation_begins_at_once() {
    let mut w = World::with(Config { initial_rebalance_delay_ms: 0, ..Config::default() });
    let (_, waiting) = w.enter("g");
    assert_eq!(w.shard.next_deadline(), Some(w.now));
    w.pass(0);
    assert_eq!(w.joined(waiting).generation, 1);
}

#[test]
fn a_rebalance_ends_when_everyone_has_rejoined() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    let (_, third) = w.enter("g");
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    assert_eq!(w.beat("g", 1, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    let waiting: Vec<_> = ids.iter().map(|id| w.send_join(join("g", id))).collect();
    let generation = w.joined(third).generation;
    assert_eq!(generation, 2);
    for waiting in waiting {
        assert_eq!(w.joined(waiting).generation, 2);
    }
}

#[test]
fn who_does_not_rejoin_in_time_is_out() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    let leader = w.send_join(join("g", &ids[0]));
    // The other one lives, but does not rejoin.
    for _ in 0..11 {
        w.pass(5_000);
        assert_eq!(w.beat("g", 1, &ids[1]), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    w.pass(5_000);
    let reply = w.joined(leader);
    assert_eq!((reply.generation, reply.members.len()), (2, 1));
    assert_eq!(w.beat("g", 1, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    let (group, member_id) = ("g".into(), ids[1].clone());
    assert!(w.events.contains(&Event::MemberRemoved { group, member_id, cause: RemovalCause::NotRejoined }));
}

/// The leader rejoined but not in time to stay leader: one that has joined takes its place.
#[test]
fn a_leader_that_does_not_rejoin_is_replaced() {
    let mut w = World::new();
    let ids = w.stable("g", 3);
    let followers: Vec<_> = ids[1..]
        .iter()
        .map(|id| w.send_join(JoinGroup { protocols: protocols(&["range", "x"]), ..join("g", id) }))
        .collect();
    w.pass(60_000);
    let replies: Vec<_> = followers.iter().map(|to| w.joined(*to)).collect();
    assert!(replies.iter().all(|reply| reply.generation == 2 && reply.leader != ids[0]));
    assert_eq!(replies.iter().map(|reply| reply.members.len()).sum::<usize>(), 2);
}

#[test]
fn a_follower_that_asks_again_gets_the_same_generation() {
    let mut w = World::new();
    let ids = w.stable("g", 2);
    let reply = w.ask_join(join("g", &ids[1]));
    assert_eq!((reply.error_code, reply.generation, &*reply.leader), (NONE, 1, &*ids[0]));
    assert!(reply.members.is_empty());
    assert_eq!(w.state("g"), GroupState::Stable);
}

/// Its subscription may have changed without a sign in the protocols: the leader's rejoin always rebalances.
#[test]
fn the_leaders_rejoin_and_changed_protocols_rebalance() {
    for leads in [true, false] {
        let mut w = World::new();
        let ids = w.stable("g", 2);
        let mut request = join("g", &ids[usize::from(!leads)]);
        if !leads {
            request.protocols[0].metadata = subscription(&["t", "u"]);
        }
        w.send_join(request);
        assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    }
}

/// The answer to a JoinGroup may be lost: in CompletingRebalance the same request gets the same answer, the leader its
/// members.
#[test]
fn a_lost_answer_is_given_again() {
    let mut w = World::new();
    let entered = [w.enter("g"), w.enter("g")];
    w.until_answered(entered[0].1);
    for (id, waiting) in entered {
        let first = w.joined(waiting);
        assert_eq!(w.ask_join(join("g", &id)), first);
    }
    assert_eq!(w.state("g"), GroupState::CompletingRebalance);
}

#[test]
fn changed_protocols_while_the_assignment_is_due_start_over() {
    let mut w = World::new();
    let entered = [w.enter("g"), w.enter("g")];
    w.until_answered(entered[0].1);
    let follower =
        entered.iter().map(|(id, to)| (id.clone(), w.joined(*to))).find(|(id, reply)| reply.leader != *id);
    let (follower, reply) = follower.unwrap();
    let waiting = w.send_sync(sync("g", 1, &follower, &[]));
    w.send_join(JoinGroup { protocols: protocols(&["range", "x"]), ..join("g", &reply.leader) });
    assert_eq!(w.state("g"), GroupState::PreparingRebalance);
    assert_eq!(w.synced(waiting).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
}

/// Kafka forgets the older request; its connection is gone. Here it is answered, or it would wait for ever in the shell.
#[test]
fn a_join_that_is_sent_again_takes_the_place_of_the_first() {
    let mut w = World::new();
    let (id, first) = w.enter("g");
    let second = w.send_join(join("g", &id));
    assert_eq!(w.joined(first).error_code, ErrorCode::REBALANCE_IN_PROGRESS);
    w.pass(3_000);
    assert_eq!((w.joined(second).error_code, w.answers.len()), (NONE, 0));
}

#[test]
fn votes_choose_the_protocol_among_those_that_all_support() {
    let mut w = World::new();
    let mut enter =
        |names: &[&str]| w.send_join(JoinGroup { version: 3, protocols: protocols(names), ..join("g", "") });
    // `solo` is first for one member but not known to all; of the others `b` has two votes.
    let waiting = [enter(&["solo", "a", "b"]), enter(&["b", "a"]), enter(&["b", "a", "c"])];
    w.pass(60_000);
    for waiting in waiting {
        assert_eq!(w.joined(waiting).protocol.as_deref(), Some("b"));
    }
}

#[test]
fn a_tie_of_votes_goes_to_the_leaders_choice() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut w = World::new();
        let first = w.send_join(JoinGroup { version: 3, protocols: protocols(&names), ..join("g", "") });
        let other: Vec<&str> = names.iter().rev().copied().collect();
        w.send_join(JoinGroup { version: 3, protocols: protocols(&other), ..join("g", "") });
        w.pass(60_000);
        let reply = w.joined(first);
        assert_eq!((&*reply.leader, reply.protocol.as_deref()), ("c-1", Some(names[0])));
    }
}

/// A name that stands twice would count twice in Kafka's votes.
#[test]
fn a_protocol_that_stands_twice_counts_once() {
    use messages::join_group::JoinGroupRequestProtocol as P;
    let message = messages::JoinGroupRequest {
        group_id: "g",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer",
        protocols: vec![
            P { name: "range", metadata: b"1" },
            P { name: "range", metadata: b"2" },
            P { name: "x", metadata: b"3" },
        ],
        ..Default::default()
    };
    let request = JoinGroup::from_wire(&message, 3, join("g", "").caller, "1".into());
    let names: Vec<_> = request.protocols.iter().map(|p| (&*p.name, &p.metadata[..])).collect();
    assert_eq!(names, [("range", &b"1"[..]), ("x", b"3")]);
    let version_0 = JoinGroup::from_wire(&message, 0, join("g", "").caller, "1".into());
    assert_eq!(version_0.rebalance_timeout_ms, 10_000);
}

#[test]
fn a_full_group_takes_no_more() {
    let mut w = World::with(Config { group_max_size: 2, ..Config::default() });
    let ids = w.stable("g", 2);
    assert_eq!(w.ask_join(join("g", "")).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    // Members may still rejoin.
    assert_eq!(w.ask_join(join("g", &ids[1])).error_code, NONE);
    // While members rejoin, places go to those who come first.
    let leader = w.send_join(join("g", &ids[0]));
    let told = w.ask_join(join("g", ""));
    assert_eq!(told.error_code, ErrorCode::MEMBER_ID_REQUIRED, "one of two places is not taken yet");
    let newcomer = w.send_join(join("g", &told.member_id));
    let late = w.ask_join(join("g", &ids[1]));
    assert_eq!((late.error_code, &*late.member_id), (ErrorCode::GROUP_MAX_SIZE_REACHED, ""));
    assert_eq!(w.beat("g", 1, &ids[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    w.until_answered(leader);
    assert_eq!([w.joined(leader).generation, w.joined(newcomer).generation], [2, 2]);
}

/// A new member whose JoinGroup waits may be dead: it is dropped after five minutes although it waits for us.
#[test]
fn a_new_member_waits_five_minutes_at_most() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    let slow = JoinGroup { rebalance_timeout_ms: 1_000_000, ..join("g", &ids[0]) };
    w.send_join(slow.clone());
    let sync_to = w.send_sync(sync("g", 2, &ids[0], &[]));
    assert_eq!(w.synced(sync_to).error_code, NONE);
    let (newcomer, waiting) = w.enter("g");
    for _ in 0..60 {
        w.pass(4_999);
        assert_eq!(w.beat("g", 2, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    assert!(w.answer(waiting).is_none());
    w.pass(61);
    assert_eq!(w.joined(waiting).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(w.ask_join(join("g", &newcomer)).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
}

/// A group that waits for a member that was given an id does not begin its generation without it.
#[test]
fn a_rebalance_waits_for_ids_that_were_given_out() {
    let mut w = World::new();
    let ids = w.stable("g", 1);
    let told = w.ask_join(join("g", ""));
    let leader = w.send_join(join("g", &ids[0]));
    assert!(w.answer(leader).is_none());
    let newcomer = w.send_join(join("g", &told.member_id));
    assert_eq!([w.joined(leader).generation, w.joined(newcomer).generation], [2, 2]);
    // And not longer than the id is good for.
    w.ask_join(join("g", ""));
    w.send_sync(sync("g", 2, &ids[0], &[]));
    let waiting: Vec<_> = [&ids[0], &told.member_id].map(|id| w.send_join(join("g", id))).to_vec();
    w.pass(9_999);
    assert!(waiting.iter().all(|to| !w.answers.contains_key(to)));
    w.pass(1);
    assert_eq!(w.joined(waiting[0]).generation, 3);
}

#[test]
fn the_reply_fits_every_version() {
    let mut w = World::new();
    let (_, waiting) = w.enter("g");
    w.pass(3_000);
    let reply = w.joined(waiting);
    let refused = w.ask_join(join("g", "c-9"));
    for version in 0..=9 {
        let mut encoder = buslane_wire::Encoder::new();
        buslane_wire::encode(&reply.to_wire(version), version, &mut encoder).unwrap();
        let wire = refused.to_wire(version);
        assert_eq!(wire.protocol_name, if version < 7 { Some("") } else { None });
        buslane_wire::encode(&wire, version, &mut encoder).unwrap();
    }
}
