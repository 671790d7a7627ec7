//! What [`Consensus`] promises, held against every implementation of it.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use buslane_log::fs::Fs;
use buslane_wire::ids::{NodeId, SegmentId, TopicId};

use crate::command::{Command, Event};
use crate::consensus::{Consensus, Leader, ProposeError, Proposing};
use crate::fixtures::{TOPIC, create_topic, node_image, open, seal_with};
use crate::gate_fs::GateFs;
use crate::image::Image;
use crate::local::LocalConsensus;
use crate::raft::RaftConsensus;
use crate::refused::{ChainMismatch, Refused};

/// An implementation under test.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Local,
    Raft,
}

/// One opened folder.
enum Opened {
    Local(Arc<LocalConsensus>),
    Raft(Arc<RaftConsensus>),
}

impl Subject {
    async fn open(self, fs: &GateFs, data: &Path) -> Opened {
        let fs: Arc<dyn Fs> = Arc::new(fs.clone());
        match self {
            Subject::Local => Opened::Local(LocalConsensus::open(fs, data).unwrap()),
            Subject::Raft => Opened::Raft(RaftConsensus::open(fs, data, NodeId(1)).await.unwrap()),
        }
    }
}

impl Opened {
    fn get(&self) -> &dyn Consensus {
        match self {
            Opened::Local(local) => &**local,
            Opened::Raft(raft) => &**raft,
        }
    }

    async fn stop(&self) {
        match self {
            Opened::Local(local) => {
                let local = local.clone();
                tokio::task::spawn_blocking(move || local.stop()).await.unwrap();
            }
            Opened::Raft(raft) => raft.stop().await,
        }
    }
}

/// What an image says, whatever its version: elections are entries, too.
fn content(image: &Image) -> Image {
    Image { version: 0, ..image.clone() }
}

fn topic(number: u8) -> Command {
    create_topic(TopicId([number; 16]), &format!("topic-{number}"), 1)
}

/// Polls once: afterwards the proposal is under way, or waits in the queue.
fn start(proposing: &mut Proposing<'_>) {
    let mut context = Context::from_waker(Waker::noop());
    // Else tokio takes one poll in a while for itself.
    let mut proposing = std::pin::pin!(tokio::task::unconstrained(proposing));
    assert!(matches!(proposing.as_mut().poll(&mut context), Poll::Pending), "nothing was to be answered yet");
}

/// A copy of the folder as it is now: what a kill leaves.
fn snapshot_of(data: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("meta")).unwrap();
    for file in std::fs::read_dir(data.join("meta")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join("meta").join(file.file_name())).unwrap();
    }
    copy
}

/// An outcome is in the image, and in every later opening, after a kill as after a stop.
async fn an_outcome_is_in_the_image_and_stays(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let first = subject.open(&fs, data.path()).await;
    let register = Command::RegisterNode { node: NodeId(1), image: node_image(1) };
    let mut expected = Vec::new();
    for command in [register, topic(1), topic(2), Command::AllocateProducerIds { count: 100 }] {
        let outcomes = first.get().propose(vec![command]).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let image = first.get().image();
        expected.push((content(&image), snapshot_of(data.path())));
    }
    assert_eq!(first.get().image().topics.len(), 2);
    first.stop().await;
    let (newest, _) = expected.last().unwrap();
    let again = subject.open(&fs, data.path()).await;
    assert_eq!(content(&again.get().image()), *newest, "after a stop");
    again.stop().await;
    for (image, copy) in &expected {
        let killed = subject.open(&fs, copy.path()).await;
        assert_eq!(content(&killed.get().image()), *image, "after a kill");
        killed.stop().await;
    }
}

/// Each command is judged by the image that the ones before it in the proposal made; a refused one changes nothing.
async fn commands_of_one_proposal_are_applied_in_order(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let opened = subject.open(&fs, data.path()).await;
    let commands = vec![
        create_topic(TOPIC, "orders", 1),
        create_topic(TOPIC, "orders", 1),
        open(0, 1, 0),
        open(0, 2, 0),
        seal_with(0, 1, 100, None, None),
        open(0, 2, 100),
        Command::AllocateProducerIds { count: 7 },
        Command::AllocateProducerIds { count: 5 },
    ];
    let outcomes = opened.get().propose(commands).await.unwrap();
    let is_open = Refused::Chain(ChainMismatch::IsOpen { open: SegmentId(1) });
    let expected = vec![
        Ok(Event::Done),
        Err(Refused::NameTaken(TOPIC)),
        Ok(Event::Done),
        Err(is_open),
        Ok(Event::Done),
        Ok(Event::Done),
        Ok(Event::ProducerIds { first: 0, count: 7 }),
        Ok(Event::ProducerIds { first: 7, count: 5 }),
    ];
    assert_eq!(outcomes, expected);
    let before = content(&opened.get().image());
    let refused = opened.get().propose(vec![create_topic(TOPIC, "orders", 1)]).await.unwrap();
    assert_eq!(refused, [Err(Refused::NameTaken(TOPIC))]);
    assert_eq!(content(&opened.get().image()), before, "a refused command leaves no trace");
    opened.stop().await;
}

/// What arrives while an entry is being synced goes together as the next one.
async fn concurrent_proposals_share_one_entry_and_one_sync(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let opened = subject.open(&fs, data.path()).await;
    let consensus = opened.get();
    let (version, syncs) = (consensus.image().version, fs.syncs());
    fs.close();
    let mut all: Vec<Proposing<'_>> = vec![consensus.propose(vec![topic(1)])];
    start(&mut all[0]);
    let gate = fs.clone();
    tokio::task::spawn_blocking(move || gate.await_waiting()).await.unwrap();
    for number in 2..=200 {
        let mut more = consensus.propose(vec![topic(number), Command::AllocateProducerIds { count: 1 }]);
        start(&mut more);
        all.push(more);
    }
    assert_eq!(consensus.image().version, version, "nothing is applied before it is durable");
    fs.open();
    let mut ids = Vec::new();
    for (number, proposal) in all.into_iter().enumerate() {
        for outcome in proposal.await.unwrap() {
            match outcome.unwrap() {
                Event::ProducerIds { first, .. } => ids.push((first, number as i64 - 1)),
                other => assert_eq!(other, Event::Done),
            }
        }
    }
    assert!(ids.iter().all(|(id, expected)| id == expected), "each caller has its own outcome: {ids:?}");
    assert_eq!(consensus.image().topics.len(), 200);
    assert_eq!(consensus.image().version - version, 2, "entries");
    assert_eq!(fs.syncs() - syncs, 2, "syncs");
    opened.stop().await;
}

/// Nobody needs to wait for the answer.
async fn a_dropped_proposal_happens_all_the_same(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let opened = subject.open(&fs, data.path()).await;
    fs.close();
    let mut first = opened.get().propose(vec![topic(1)]);
    start(&mut first);
    let mut second = opened.get().propose(vec![topic(2)]);
    start(&mut second);
    drop((first, second));
    fs.open();
    let outcomes = opened.get().propose(vec![topic(3)]).await.unwrap();
    assert_eq!(outcomes, [Ok(Event::Done)]);
    assert_eq!(opened.get().image().topics.len(), 3);
    opened.stop().await;
}

/// No commands: no entry, no sync.
async fn no_commands_no_entry(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let opened = subject.open(&fs, data.path()).await;
    let (version, syncs) = (opened.get().image().version, fs.syncs());
    assert_eq!(opened.get().propose(Vec::new()).await.unwrap(), []);
    assert_eq!((opened.get().image().version, fs.syncs()), (version, syncs));
    opened.stop().await;
}

/// The version never falls, also from one opening to the next; a watcher sees the newest image.
async fn the_version_never_falls(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let mut last = 0;
    for run in 0..3_u8 {
        let opened = subject.open(&fs, data.path()).await;
        let mut images = opened.get().watch();
        for number in 0..10 {
            let version = opened.get().image().version;
            assert!(version >= last, "{version} after {last}");
            last = version;
            let outcomes = opened.get().propose(vec![topic(run * 10 + number + 1)]).await.unwrap();
            assert_eq!(outcomes, [Ok(Event::Done)]);
            images.changed().await.unwrap();
            let seen = images.borrow_and_update().version;
            assert!(seen > last && opened.get().image().version >= seen, "{seen} after {last}");
        }
        opened.stop().await;
    }
}

/// What waits at a stop is answered; afterwards nothing is proposed.
async fn a_stop_answers_what_waits(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let opened = subject.open(&fs, data.path()).await;
    assert_eq!(opened.get().leader(), Leader::Me);
    let mut waiting: Vec<Proposing<'_>> =
        (1..=5).map(|number| opened.get().propose(vec![topic(number)])).collect();
    waiting.iter_mut().for_each(start);
    opened.stop().await;
    for proposal in waiting {
        assert_eq!(proposal.await, Ok(vec![Ok(Event::Done)]));
    }
    assert_eq!(opened.get().propose(vec![topic(9)]).await, Err(ProposeError::Stopped));
    opened.stop().await;
    let again = subject.open(&fs, data.path()).await;
    assert_eq!(again.get().image().topics.len(), 5);
    again.stop().await;
}

/// A failed sync: the outcome is not known, nothing more is taken, and the next opening shows what is there.
async fn after_a_failed_sync_nothing_more_is_taken(subject: Subject) {
    let (fs, data) = (GateFs::new(), tempfile::tempdir().unwrap());
    let opened = subject.open(&fs, data.path()).await;
    opened.get().propose(vec![topic(1)]).await.unwrap().remove(0).unwrap();
    let before = content(&opened.get().image());
    assert_eq!(opened.get().failure(), None);
    fs.break_down();
    let failed = opened.get().propose(vec![topic(2)]).await;
    let Err(ProposeError::Unknown(reason)) = failed else { panic!("{failed:?}") };
    assert!(reason.contains("the disk of this test is broken"), "{reason}");
    assert_eq!(opened.get().failure(), Some(reason));
    fs.open();
    let later = opened.get().propose(vec![topic(3)]).await;
    assert!(matches!(later, Err(ProposeError::Unknown(_))), "{later:?}");
    assert_eq!(content(&opened.get().image()), before, "what is not known to be durable is not shown");
    opened.stop().await;
    let again = subject.open(&fs, data.path()).await;
    let image = again.get().image();
    assert!(image.topic_named("topic-1").is_some() && image.topic_named("topic-3").is_none());
    again.stop().await;
}

type Check = fn(Subject) -> Pin<Box<dyn Future<Output = ()>>>;

async fn every_promise(subject: Subject) {
    let checks: [(&str, Check); 8] = [
        ("an outcome is in the image and stays", |s| Box::pin(an_outcome_is_in_the_image_and_stays(s))),
        ("in order", |s| Box::pin(commands_of_one_proposal_are_applied_in_order(s))),
        ("one entry", |s| Box::pin(concurrent_proposals_share_one_entry_and_one_sync(s))),
        ("dropped", |s| Box::pin(a_dropped_proposal_happens_all_the_same(s))),
        ("no commands", |s| Box::pin(no_commands_no_entry(s))),
        ("the version", |s| Box::pin(the_version_never_falls(s))),
        ("a stop", |s| Box::pin(a_stop_answers_what_waits(s))),
        ("a failed sync", |s| Box::pin(after_a_failed_sync_nothing_more_is_taken(s))),
    ];
    for (name, check) in checks {
        println!("{subject:?}: {name}");
        check(subject).await;
    }
}

#[tokio::test]
async fn local_consensus_keeps_every_promise() {
    every_promise(Subject::Local).await;
}

#[tokio::test]
async fn raft_consensus_keeps_every_promise() {
    every_promise(Subject::Raft).await;
}
