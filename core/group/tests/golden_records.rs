//! Bytes that Kafka 4.4's own classes wrote (`golden/PrintRecords.java`), and ours from the same values.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use buslane_group::records::{self, *};
use buslane_wire::EncodeError;
use buslane_wire::ids::TopicId;

const ID: TopicId = TopicId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
const NOW: i64 = 1_700_000_000_123;

fn golden() -> BTreeMap<&'static str, Record> {
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    include_str!("golden/records.hex")
        .lines()
        .map(|line| {
            let [name, key, value] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let value = (value != "-").then(|| unhex(value).into());
            (name, Record { key: unhex(key).into(), value })
        })
        .collect()
}

fn offset(topic_id: TopicId) -> OffsetCommitValue<'static> {
    OffsetCommitValue {
        offset: 42,
        leader_epoch: 3,
        metadata: "mäta",
        commit_timestamp: NOW,
        expire_timestamp: NOW + 600_000,
        topic_id,
    }
}

fn group() -> GroupMetadataValue<'static> {
    GroupMetadataValue {
        protocol_type: "consumer",
        generation: 5,
        protocol: Some("range"),
        leader: Some("c-1"),
        current_state_timestamp: NOW,
        members: vec![
            MemberMetadata {
                member_id: "c-1",
                group_instance_id: Some("one"),
                client_id: "c",
                client_host: "/127.0.0.1",
                rebalance_timeout: 300_000,
                session_timeout: 45_000,
                subscription: &[1, 2, 3],
                assignment: &[4, 5],
            },
            MemberMetadata {
                member_id: "d-2",
                group_instance_id: None,
                client_id: "d",
                client_host: "/::1",
                rebalance_timeout: 60_000,
                session_timeout: 10_000,
                subscription: &[],
                assignment: &[],
            },
        ],
    }
}

fn member() -> ConsumerGroupMemberMetadataValue<'static> {
    ConsumerGroupMemberMetadataValue {
        instance_id: Some("one"),
        rack_id: None,
        client_id: "c",
        client_host: "/127.0.0.1",
        subscribed_topic_names: vec!["a", "b"],
        subscribed_topic_regex: Some("x.*"),
        rebalance_timeout_ms: 300_000,
        server_assignor: Some("uniform"),
        classic_member_metadata: None,
    }
}

fn ours() -> Result<BTreeMap<&'static str, Record>, EncodeError> {
    let mut out = BTreeMap::new();
    let offset_key = OffsetCommitKey { group: "g", topic: "orders", partition: 7 };
    out.insert("offset-tombstone", tombstone(&offset_key)?);
    for (version, name) in
        ["offset-v0", "offset-v1", "offset-v2", "offset-v3", "offset-v4"].iter().enumerate()
    {
        out.insert(name, record(&offset_key, &offset(TopicId::ZERO), version as i16)?);
    }
    out.insert("offset-v4-id", record(&offset_key, &offset(ID), 4)?);
    let legacy_key = LegacyOffsetCommitKey { group: "g", topic: "orders", partition: 7 };
    let legacy = LegacyOffsetCommitValue { offset: 42, metadata: "m", commit_timestamp: NOW };
    out.insert("legacy-offset", record(&legacy_key, &legacy, 0)?);
    let group_key = GroupMetadataKey { group: "g" };
    for (version, name) in ["group-v0", "group-v1", "group-v2", "group-v3", "group-v4"].iter().enumerate() {
        out.insert(name, record(&group_key, &group(), version as i16)?);
    }
    let empty = GroupMetadataValue {
        protocol_type: "",
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp: NOW,
        members: Vec::new(),
    };
    out.insert("group-empty", record(&group_key, &empty, 3)?);
    let key = ConsumerGroupMetadataKey { group_id: "g" };
    let value = ConsumerGroupMetadataValue { epoch: 9, metadata_hash: 0 };
    out.insert("consumer-group", record(&key, &value, 0)?);
    let value = ConsumerGroupMetadataValue { epoch: 9, metadata_hash: -2 };
    out.insert("consumer-group-hash", record(&key, &value, 0)?);
    let partition_metadata = vec![PartitionMetadata { partition: 1, racks: vec!["r1", "r2"] }];
    let topic = TopicMetadata { topic_id: ID, topic_name: "orders", num_partitions: 3, partition_metadata };
    out.insert(
        "consumer-partitions",
        record(
            &ConsumerGroupPartitionMetadataKey { group_id: "g" },
            &ConsumerGroupPartitionMetadataValue { topics: vec![topic] },
            0,
        )?,
    );
    let key = ConsumerGroupMemberMetadataKey { group_id: "g", member_id: "m" };
    out.insert("consumer-member", record(&key, &member(), 0)?);
    let classic = ClassicMemberMetadata {
        session_timeout_ms: 45_000,
        supported_protocols: vec![ClassicProtocol { name: "range", metadata: &[1, 2, 3] }],
    };
    let value = ConsumerGroupMemberMetadataValue { classic_member_metadata: Some(classic), ..member() };
    out.insert("consumer-member-classic", record(&key, &value, 0)?);
    out.insert(
        "consumer-target",
        record(
            &ConsumerGroupTargetAssignmentMetadataKey { group_id: "g" },
            &ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: 9, assignment_timestamp: NOW },
            0,
        )?,
    );
    out.insert(
        "consumer-target-member",
        record(
            &ConsumerGroupTargetAssignmentMemberKey { group_id: "g", member_id: "m" },
            &ConsumerGroupTargetAssignmentMemberValue {
                topic_partitions: vec![TopicPartition { topic_id: ID, partitions: vec![0, 2] }],
            },
            0,
        )?,
    );
    let held = |partitions: Vec<i32>, assignment_epochs| TopicPartitions {
        topic_id: ID,
        partitions,
        assignment_epochs,
    };
    out.insert(
        "consumer-current",
        record(
            &ConsumerGroupCurrentMemberAssignmentKey { group_id: "g", member_id: "m" },
            &ConsumerGroupCurrentMemberAssignmentValue {
                member_epoch: 9,
                previous_member_epoch: 8,
                state: 2,
                assigned_partitions: vec![held(vec![0, 2], Some(vec![8, 9]))],
                partitions_pending_revocation: vec![held(vec![1], None)],
            },
            0,
        )?,
    );
    out.insert(
        "consumer-regex",
        record(
            &ConsumerGroupRegularExpressionKey { group_id: "g", regular_expression: "x.*" },
            &ConsumerGroupRegularExpressionValue { topics: vec!["x1", "xy"], version: 12, timestamp: NOW },
            0,
        )?,
    );
    Ok(out)
}

#[test]
fn records_have_kafkas_bytes() {
    let (golden, ours) = (golden(), ours().unwrap());
    assert_eq!(golden.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    for (name, theirs) in &golden {
        assert_eq!(&ours[name], theirs, "{name}");
    }
}

#[test]
fn kafkas_bytes_parse_to_what_wrote_them() {
    let golden = golden();
    for (name, record) in &golden {
        match records::parse(&record.key, record.value.as_deref()).unwrap() {
            Parsed::Known(_) => {}
            unknown => panic!("{name}: {unknown:?}"),
        }
    }
    let parse = |name: &str| match records::parse(&golden[name].key, golden[name].value.as_deref()).unwrap() {
        Parsed::Known(known) => known,
        unknown => panic!("{name}: {unknown:?}"),
    };
    let Known::OffsetCommit(key, Some(value)) = parse("offset-v4-id") else { panic!("an offset") };
    assert_eq!(key, OffsetCommitKey { group: "g", topic: "orders", partition: 7 });
    assert_eq!(value, OffsetCommitValue { expire_timestamp: -1, ..offset(ID) });
    for name in ["group-v3", "group-v4"] {
        assert_eq!(parse(name), Known::GroupMetadata(GroupMetadataKey { group: "g" }, Some(group())));
    }
    let Known::GroupMetadata(_, Some(oldest)) = parse("group-v0") else { panic!("a group") };
    assert_eq!((oldest.current_state_timestamp, oldest.members[0].rebalance_timeout), (-1, -1));
    assert_eq!(oldest.members[0].group_instance_id, None);
    let Known::ConsumerGroupMemberMetadata(_, Some(value)) = parse("consumer-member-classic") else {
        panic!("a member")
    };
    assert_eq!(value.classic_member_metadata.unwrap().supported_protocols[0].name, "range");
}
