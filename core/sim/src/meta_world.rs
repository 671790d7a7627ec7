//! The real metadata log on one simulated disk: commands are committed, the power goes, and what was answered is there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use buslane_log::fs::Fs;
use buslane_meta::{
    Command, Image, LocalState, MetaSyncSite, OpenSegment, QuotaEntity, QuotaKey, QuotaName, QuotaValue,
    apply_entry,
};
use buslane_wire::ids::{Durability, LeaderEpoch, NodeId, SegmentId, TopicId, TopicPartition};

use crate::rng::Rng;
use crate::sim_fs::{LostPages, SimFs, Survival};
use crate::violation::{Violation, ensure, names};

const DIR: &str = "/srv/buslane";

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Entries whose commit was answered.
    pub committed: u64,
    /// Openings after a power cut or crash.
    pub openings: u64,
    /// Operations of the disk.
    pub operations: u64,
}

/// Runs one seed, without one of the syncs where `skip` says so. `cut_at`: the power goes at this operation of the disk
/// at the latest.
///
/// # Errors
/// The invariant that broke.
pub fn run(seed: u64, skip: Option<MetaSyncSite>, cut_at: Option<u64>) -> Result<Summary, Violation> {
    let outcome = catch_unwind(AssertUnwindSafe(|| MetaWorld::new(seed, skip, cut_at).run()));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(Violation { invariant: names::PANIC, detail: text.unwrap_or_default() })
    })
}

struct MetaWorld {
    rng: Rng,
    seed: u64,
    skip: Option<MetaSyncSite>,
    cut_at: Option<u64>,
    fs: SimFs,
    /// As of the newest answered commit.
    answered: Arc<Image>,
    /// As it would be with the commit that got no answer.
    unanswered: Option<Image>,
    topics: u64,
    snapshot_after: u64,
    summary: Summary,
}

impl MetaWorld {
    fn new(seed: u64, skip: Option<MetaSyncSite>, cut_at: Option<u64>) -> MetaWorld {
        let mut rng = Rng::new(seed);
        let fs = SimFs::new();
        // The data folder is another one's affair: it is there.
        let made = fs.create_dir_all(Path::new(DIR)).and_then(|()| fs.sync_everything(Path::new(DIR)));
        made.expect("no fault is planned yet");
        if rng.chance(1, 4) {
            fs.shorten_reads(seed);
        }
        let snapshot_after = *rng.pick(&[200, 1_000, 1 << 30]);
        MetaWorld {
            rng,
            seed,
            skip,
            cut_at,
            fs,
            answered: Arc::new(Image::default()),
            unanswered: None,
            topics: 0,
            snapshot_after,
            summary: Summary::default(),
        }
    }

    fn run(mut self) -> Result<Summary, Violation> {
        for _ in 0..self.rng.between(3, 6) {
            let ahead = self.rng.below(60);
            let stop = self.cut_at.unwrap_or_else(|| self.fs.operations() + ahead);
            if Rng::new(self.seed ^ stop).chance(1, 2) {
                self.fs.stop_before(stop);
            } else {
                self.fs.stop_within(stop, self.seed);
            }
            if self.rng.chance(1, 3) {
                let lost = *self.rng.pick(&[LostPages::Kept, LostPages::Clean, LostPages::Reverted]);
                self.fs.fail_sync(self.rng.below(20), lost);
            }
            self.live()?;
            let survival = match self.rng.below(6) {
                0 | 1 => Survival::Nothing,
                2 => Survival::Everything,
                _ => Survival::Seeded(self.rng.bits()),
            };
            let cut = self.rng.chance(3, 4);
            self.fs = if cut { self.fs.power_cut(survival) } else { self.fs.process_crash() };
        }
        self.open()?;
        self.summary.operations = self.fs.operations();
        Ok(self.summary)
    }

    /// `None`: the plan stopped the process.
    fn open(&mut self) -> Result<Option<LocalState>, Violation> {
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        let mut state = match LocalState::open_skipping(fs, Path::new(DIR), self.skip) {
            Ok(state) => state,
            Err(_) if self.ended() => return Ok(None),
            Err(error) => {
                return Err(Violation { invariant: names::WORKS_WITHOUT_FAULT, detail: error.to_string() });
            }
        };
        self.summary.openings += 1;
        state.snapshot_after(self.snapshot_after);
        let (found, answered) = (state.image().clone(), &self.answered);
        let known = found == *answered || self.unanswered.as_ref() == Some(&*found);
        ensure!(
            known,
            names::COMMAND_SURVIVES,
            "the image is of {}, answered was {}, unanswered {:?}",
            found.version,
            answered.version,
            self.unanswered.as_ref().map(|image| image.version)
        );
        // What an opening shows is answered from: it is for ever.
        self.answered = found;
        self.unanswered = None;
        Ok(Some(state))
    }

    fn live(&mut self) -> Result<(), Violation> {
        let Some(mut state) = self.open()? else { return Ok(()) };
        for _ in 0..self.rng.between(1, 30) {
            let commands: Vec<Command> = (0..self.rng.between(1, 4)).map(|_| self.command()).collect();
            let (next, outcomes) = apply_entry(&self.answered, self.answered.version + 1, &commands);
            self.unanswered = Some(next.clone());
            match state.commit(&commands) {
                Ok(answer) => {
                    ensure!(answer == outcomes, names::COMMAND_SURVIVES, "{answer:?}, expected {outcomes:?}");
                    if outcomes.iter().any(Result::is_ok) {
                        self.answered = Arc::new(next);
                        self.summary.committed += 1;
                    }
                    self.unanswered = None;
                }
                Err(_) if self.ended() => return Ok(()),
                Err(error) => {
                    return Err(Violation {
                        invariant: names::WORKS_WITHOUT_FAULT,
                        detail: error.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The process is over: its power went, or its disk failed.
    fn ended(&self) -> bool {
        self.fs.is_stopped() || self.fs.faults_hit() > 0
    }

    fn some_partition(&mut self) -> TopicPartition {
        let number = self.rng.below(self.topics.max(1));
        TopicPartition { topic: topic(number), partition: self.rng.below(2) as i32 }
    }

    /// Some commands are refused; that is one of their outcomes.
    fn command(&mut self) -> Command {
        let partition = self.some_partition();
        let state = self.answered.partition(partition).cloned();
        let epoch = state.as_ref().map_or(LeaderEpoch(0), |p| p.epoch);
        let stores = vec![NodeId(1), NodeId(2)];
        match self.rng.below(10) {
            0 | 1 => {
                let number = self.topics;
                self.topics += 1;
                Command::CreateTopic {
                    id: topic(number),
                    name: format!("topic-{number}"),
                    plans: vec![stores.clone(), stores],
                    config: [("retention.ms".to_owned(), number.to_string())].into(),
                }
            }
            2 => Command::Assign { partition, expected_epoch: epoch, owner: NodeId(1) },
            3 => Command::AllocateProducerIds { count: 1_000 },
            4 => Command::DeleteTopic { topic: partition.topic },
            5 => self.alter_quotas(),
            6 => Command::AlterBrokerConfig {
                // The last one never registers: it is refused.
                node: [None, Some(NodeId(1)), Some(NodeId(9))][self.rng.below(3) as usize],
                changes: [(
                    format!("setting-{}", self.rng.below(3)),
                    self.rng.chance(2, 3).then(|| self.rng.below(9).to_string()),
                )]
                .into(),
            },
            _ => {
                let end = state.as_ref().map_or(0, |p| p.sealed_end_offset);
                let last = state.as_ref().map_or(0, |p| p.last_segment.0);
                let next = OpenSegment {
                    segment: SegmentId((last + 1).max((epoch.0 as u64) << 32 | 1)),
                    base_offset: end,
                    stores: stores.clone(),
                    durability: Durability::Synced,
                };
                match state.as_ref().and_then(|p| p.open_segment()) {
                    None => Command::Open { partition, epoch, open: next },
                    Some(open) => {
                        let end_offset = open.base_offset + 1 + self.rng.below(50) as i64;
                        Command::Seal {
                            partition,
                            epoch,
                            segment: open.id,
                            end_offset,
                            bytes: 1_000,
                            max_timestamp: 5,
                            complete: stores,
                            loss: None,
                            next: self
                                .rng
                                .chance(1, 2)
                                .then(|| OpenSegment { base_offset: end_offset, ..next.clone() }),
                        }
                    }
                }
            }
        }
    }

    fn alter_quotas(&mut self) -> Command {
        let name = |number: u64| match number {
            0 => None,
            1 => Some(QuotaName::Default),
            _ => Some(QuotaName::Named(format!("name-{number}"))),
        };
        // Without any, and with an address beside another, it is refused.
        let (user, client_id) = (name(self.rng.below(3)), name(self.rng.below(4)));
        let ip = self.rng.chance(1, 4).then_some(QuotaName::Default);
        let entity = QuotaEntity { user, client_id, ip };
        let key = QuotaKey::ALL[self.rng.below(QuotaKey::ALL.len() as u64) as usize];
        let value = QuotaValue::new((self.rng.below(4) * 100) as f64);
        Command::AlterQuotas { entity, changes: [(key, value)].into() }
    }
}

fn topic(number: u64) -> TopicId {
    TopicId([number as u8 + 1; 16])
}
