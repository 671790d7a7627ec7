//! openraft's own tests of a storage against ours, and what only this consensus does: terms, snapshots, other voters.

use std::time::Instant;

use buslane_log::disk::Disk;
use buslane_wire::ids::TopicId;
use openraft::error::RPCError;
use openraft::testing::{StoreBuilder, Suite};
use openraft::{RaftNetworkFactory, StorageIOError};

use super::types::StorageError;
use super::*;
use crate::fixtures::{create_topic, seal_with};
use crate::meta_log::{LogEntry, LogPosition, Record, Vote};

const ME: NodeId = NodeId(1);

struct Stores;

/// A folder, and the thread that writes into it until the store is dropped.
struct Guard {
    _folder: tempfile::TempDir,
}

impl StoreBuilder<Types, LogStore, StateMachine, Guard> for Stores {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError> {
        let data = tempfile::tempdir().map_err(|e| StorageIOError::write(&e))?;
        let (log, replay) = MetaLog::open(Arc::new(Disk), data.path()).expect("a new folder");
        let bytes = Arc::new(AtomicU64::new(0));
        let policy = SnapshotPolicy::new(0);
        let snapshots = Arc::new(Snapshots::new(log.snapshots(), policy, bytes.clone()));
        let (machine, _) = StateMachine::new(None, data.path(), snapshots).expect("an empty one");
        let (writer, _) = LogThread::start(log, bytes, Failure::default()).expect("a thread");
        let store = LogStore::new(replay, ME, data.path(), writer).expect("nothing to load");
        Ok((Guard { _folder: data }, store, machine))
    }
}

#[test]
fn the_storage_passes_openrafts_own_tests() {
    Suite::test_all(Stores).unwrap();
}

async fn open(data: &Path) -> Result<Arc<RaftConsensus>, StartError> {
    RaftConsensus::open(Arc::new(Disk), data, ME).await
}

fn replay(data: &Path) -> Replay {
    MetaLog::open(Arc::new(Disk), data).unwrap().1
}

fn topic(number: u8) -> Command {
    create_topic(TopicId([number; 16]), &format!("topic-{number}"), 1)
}

#[tokio::test]
async fn the_first_start_founds_the_group_and_each_later_one_leads_in_a_new_term() {
    let data = tempfile::tempdir().unwrap();
    let mut terms = Vec::new();
    for _ in 0..3 {
        let opened = open(data.path()).await.unwrap();
        assert_eq!(opened.leader(), Leader::Me);
        opened.stop().await;
        let vote = replay(data.path()).vote.unwrap();
        assert_eq!((vote.node, vote.committed), (ME, true));
        terms.push(vote.term);
    }
    // An entry of the old term may be on another disk under an index that is free on this one.
    assert!(terms.windows(2).all(|t| t[0] < t[1]), "{terms:?}");
}

#[tokio::test]
async fn a_crash_between_founding_and_the_first_vote_is_no_trouble() {
    let data = tempfile::tempdir().unwrap();
    open(data.path()).await.unwrap().stop().await;
    let founding = replay(data.path()).entries.remove(0);
    std::fs::remove_dir_all(data.path().join("meta")).unwrap();
    let (mut log, _) = MetaLog::open(Arc::new(Disk), data.path()).unwrap();
    log.append(&[Record::Entry(founding)]).unwrap();
    drop(log);
    let opened = open(data.path()).await.unwrap();
    assert_eq!(opened.propose(vec![topic(1)]).await.unwrap().len(), 1);
    opened.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_taken_by_bytes_and_the_log_stays_short() {
    let data = tempfile::tempdir().unwrap();
    let open = |skip| RaftConsensus::open_with(Arc::new(Disk), data.path(), ME, Some(4_000), skip);
    let opened = open(None).await.unwrap();
    let mut bytes = 0;
    for number in 0..200 {
        let command = topic(number + 1);
        bytes += crate::encoding::encode_entry(std::slice::from_ref(&command)).len() as u64;
        opened.propose(vec![command]).await.unwrap();
    }
    assert!(bytes > 10_000, "{bytes} bytes are too few to tell");
    let image = opened.image();
    opened.stop().await;
    let found = replay(data.path());
    let purged = found.purged.expect("the log was purged").index;
    assert!(purged > 20, "only {purged} of 200 entries are gone");
    assert!(found.snapshot.as_ref().unwrap().index() >= Some(purged));
    let opened = open(None).await.unwrap();
    assert_eq!(
        Image { version: 0, ..Image::clone(&opened.image()) },
        Image { version: 0, ..Image::clone(&image) }
    );
    assert!(opened.image().version > image.version);
    opened.stop().await;
}

#[tokio::test]
async fn the_metadata_of_other_voters_is_refused() {
    let data = tempfile::tempdir().unwrap();
    open(data.path()).await.unwrap().stop().await;
    let error = RaftConsensus::open(Arc::new(Disk), data.path(), NodeId(2)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("voters [NodeId(1)]") && text.contains("node 2"), "{text}");

    let local = tempfile::tempdir().unwrap();
    let (mut log, _) = MetaLog::open(Arc::new(Disk), local.path()).unwrap();
    let at = LogPosition { term: 1, index: 1, ..LogPosition::default() };
    log.append(&[Record::Entry(LogEntry { at, payload: Payload::Blank })]).unwrap();
    let error = open(local.path()).await.unwrap_err();
    assert!(matches!(error, StartError::OtherVoters { .. }), "{error}");
}

#[tokio::test]
async fn damage_is_told_before_anything_starts() {
    let data = tempfile::tempdir().unwrap();
    let opened = open(data.path()).await.unwrap();
    opened.propose(vec![topic(1)]).await.unwrap();
    opened.stop().await;
    let path = data.path().join("meta/log");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = open(data.path()).await.unwrap_err();
    assert!(matches!(error, StartError::Log(MetaLogError::Corrupt { .. })), "{error}");
}

#[tokio::test]
async fn there_is_no_such_peer() {
    use openraft::RaftNetwork;
    use openraft::network::RPCOption;
    use openraft::raft::VoteRequest;

    let mut client = NoPeers.new_client(Voter(9), &Address::default()).await;
    let asked = VoteRequest::new(openraft::Vote::new(1, Voter(1)), None);
    let error = client.vote(asked, RPCOption::new(READY_WITHIN)).await.unwrap_err();
    assert!(matches!(error, RPCError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("no such peer: node 9"), "{error}");
}

#[test]
fn a_vote_of_this_node_is_not_taken_for_leadership() {
    let data = tempfile::tempdir().unwrap();
    let votes = |node| {
        let vote = Some(Vote { term: 4, node, committed: true });
        let (log, _) = MetaLog::open(Arc::new(Disk), data.path()).unwrap();
        let (writer, _) = LogThread::start(log, Arc::default(), Failure::default()).unwrap();
        LogStore::new(Replay { vote, ..Replay::default() }, ME, data.path(), writer).unwrap().vote().unwrap()
    };
    assert!(!votes(ME).committed, "it stands for election");
    assert!(votes(NodeId(2)).committed, "it follows");
}

/// 1,000 topics of 10 partitions, each with a sealed segment and an open one: the figures of a restart, printed.
#[tokio::test]
async fn a_restart_of_ten_thousand_partitions_is_fast() {
    let data = tempfile::tempdir().unwrap();
    let open = |after| RaftConsensus::open_with(Arc::new(Disk), data.path(), ME, Some(after), None);
    // Everything as entries, then everything in a snapshot with as many assignments behind it.
    let opened = open(u64::MAX).await.unwrap();
    for number in 0..1_000u32 {
        let mut id = [1; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let id = TopicId(id);
        let mut commands = vec![create_topic(id, &format!("a-topic-with-a-name-{number}"), 10)];
        for index in 0..10 {
            let partition = buslane_wire::ids::TopicPartition { topic: id, partition: index };
            let next = crate::fixtures::open_segment(2, 100);
            let mut seal = seal_with(0, 1, 100, None, Some(next));
            let Command::Seal { partition: of, .. } = &mut seal else { panic!("not a seal") };
            *of = partition;
            let open = crate::fixtures::open_segment(1, 0);
            commands.push(Command::Open { partition, epoch: Default::default(), open });
            commands.push(seal);
        }
        opened.propose(commands).await.unwrap().into_iter().for_each(|o| drop(o.unwrap()));
    }
    let image = opened.image();
    opened.stop().await;
    let log_bytes = std::fs::metadata(data.path().join("meta/log")).unwrap().len();

    let start = Instant::now();
    let opened = open(1).await.unwrap();
    let from_log = start.elapsed();
    assert_eq!(opened.image().topics, image.topics);
    // The next entry is over the limit: a snapshot, and a short log.
    let assign: Vec<Command> = image
        .partitions()
        .map(|(partition, p)| Command::Assign { partition, expected_epoch: p.epoch, owner: ME })
        .collect();
    opened.propose(assign.clone()).await.unwrap().into_iter().for_each(|o| drop(o.unwrap()));
    let snapshot_path = data.path().join("meta/snapshot");
    while !snapshot_path.exists() {
        tokio::task::yield_now().await;
    }
    opened.stop().await;
    let opened = open(u64::MAX).await.unwrap();
    let again = assign.iter().map(|c| {
        let Command::Assign { partition, expected_epoch, owner } = c else { panic!("not an assignment") };
        let expected_epoch = buslane_wire::ids::LeaderEpoch(expected_epoch.0 + 1);
        Command::Assign { partition: *partition, expected_epoch, owner: *owner }
    });
    opened.propose(again.collect()).await.unwrap().into_iter().for_each(|o| drop(o.unwrap()));
    let image = opened.image();
    opened.stop().await;
    let snapshot_bytes = std::fs::metadata(&snapshot_path).unwrap().len();

    let start = Instant::now();
    let opened = open(u64::MAX).await.unwrap();
    let from_snapshot = start.elapsed();
    assert_eq!(opened.image().topics, image.topics);
    assert_eq!(image.partitions().count(), 10_000);
    opened.stop().await;
    println!(
        "restart with 10,000 partitions: from {log_bytes} bytes of log {from_log:?}, \
         from {snapshot_bytes} bytes of snapshot and 10,000 assignments {from_snapshot:?}"
    );
    // The figure is printed; the bound only catches what is slower by an order.
    assert!(from_log.as_millis() < 1_000 && from_snapshot.as_millis() < 1_000);
}
