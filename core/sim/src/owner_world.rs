//! Real stores, real metadata and real owners on simulated disks of one or two nodes: what producers were told is true.
//!
//! The harness is the shell of [`buslane_partition::Owner`]: it carries out the owner's actions in an order that the seed
//! draws (in order for each node, as one connection does), on nodes that crash, lose power and come back at any operation
//! of their disks, alone or all at once. Producers are idempotent and retry. Owners are replaced behind the backs of
//! their predecessors, which go on as zombies. Metadata lives on the first node.
//!
//! Nodes: [`node`]. The shell: [`shell`]. Producers: [`producer`]. What was promised: [`ledger`].

mod ledger;
mod node;
mod producer;
mod shell;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use buslane_log::SyncSite;
use buslane_meta::{Command, MetaSyncSite};
use buslane_partition::{Owner, Phase, Settings};
use buslane_wire::ids::{Durability, NodeId, TopicId, TopicPartition};

use crate::rng::Rng;
use crate::sim_fs::Survival;
use crate::violation::{Violation, names};
use ledger::Ledger;
use node::Node;
use producer::Producing;
use shell::{Queues, Task};

/// How to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Nodes, and copies of each segment: 1 or 2.
    pub nodes: usize,
    /// When a record counts as stored.
    pub durability: Durability,
    /// The store's sync that is taken away.
    pub skip: Option<SyncSite>,
    /// The metadata's sync that is taken away.
    pub skip_meta: Option<MetaSyncSite>,
    /// What the shell does wrong.
    pub mistake: Option<Mistake>,
}

impl Options {
    /// Nothing wrong.
    pub fn new(nodes: usize, durability: Durability) -> Options {
        Options { nodes, durability, skip: None, skip_meta: None, mistake: None }
    }
}

/// A mistake in the shell around owner and store, to see that it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// Every copy is reported as whole.
    EveryReportIsWhole,
    /// A store seals for an owner that was replaced.
    SealsForTheReplaced,
    /// A `synced` append is confirmed from the page cache.
    ConfirmsBeforeTheSync,
    /// A segment without a checkpoint of its own starts with no producers.
    ForgetsThePredecessors,
    /// A recovery's answer goes out, though the store's length was read before the promise.
    ReadsBeforeTheFence,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 5] = [
        Mistake::EveryReportIsWhole,
        Mistake::SealsForTheReplaced,
        Mistake::ConfirmsBeforeTheSync,
        Mistake::ForgetsThePredecessors,
        Mistake::ReadsBeforeTheFence,
    ];
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Batches acknowledged by all stores of their segment.
    pub acknowledged: u64,
    /// Of those, gone in recorded losses.
    pub lost: u64,
    /// Losses recorded.
    pub losses: u64,
    /// Segments sealed.
    pub sealed: u64,
    /// Owners that took over.
    pub owners: u64,
    /// Nodes that lost power.
    pub power_cuts: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// Batches answered as duplicates.
    pub duplicates: u64,
    /// Tails copied from one store to another.
    pub copied: u64,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.losses += other.losses;
        self.sealed += other.sealed;
        self.owners += other.owners;
        self.power_cuts += other.power_cuts;
        self.crashes += other.crashes;
        self.duplicates += other.duplicates;
        self.copied += other.copied;
    }
}

/// A run that broke something.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// How it was run.
    pub options: Options,
    /// Steps made before.
    pub step: usize,
    /// What broke.
    pub violation: Violation,
    /// The steps.
    pub steps: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}, step {}: {}", self.seed, self.step, self.violation)?;
        writeln!(f, "with {:?}; the last steps:", self.options)?;
        for step in self.steps.iter().rev().take(120).rev() {
            writeln!(f, "  {step}")?;
        }
        write!(f, "again: BUSLANE_SIM_SEED={} cargo test -p buslane-sim --test owners", self.seed)
    }
}

/// Runs one seed.
pub fn run(seed: u64, options: Options) -> Result<Summary, Box<Failure>> {
    let mut world = World::new(seed, options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match outcome {
        Ok(Ok(())) => {
            (world.summary.lost, world.summary.losses) = (world.ledger.lost, world.ledger.losses);
            return Ok(world.summary);
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Violation { invariant: names::PANIC, detail: text.unwrap_or_default() }
        }
    };
    Err(Box::new(Failure { seed, options, step: world.steps.len(), violation, steps: world.steps }))
}

/// Number of one owner's run.
type RunId = u32;

/// One run of ownership.
struct Run {
    partition: TopicPartition,
    /// Where its process runs.
    node: usize,
    owner: Owner,
}

struct World {
    options: Options,
    rng: Rng,
    now_ms: i64,
    nodes: Vec<Node>,
    runs: BTreeMap<RunId, Run>,
    next_run: RunId,
    queues: Queues,
    producers: BTreeMap<TopicPartition, Producing>,
    ledger: Ledger,
    steps: Vec<String>,
    summary: Summary,
    /// No new faults: everything comes to rest.
    calm: bool,
}

/// The partitions: two of one topic.
const TOPIC: TopicId = TopicId([7; 16]);
const PARTITIONS: i32 = 2;

impl World {
    fn new(seed: u64, options: Options) -> World {
        let mut rng = Rng::new(seed);
        let nodes = (0..options.nodes).map(|n| Node::new(n, &mut rng, options)).collect();
        World {
            options,
            rng,
            now_ms: 1_000_000,
            nodes,
            runs: BTreeMap::new(),
            next_run: 0,
            queues: Queues::default(),
            producers: BTreeMap::new(),
            ledger: Ledger::default(),
            steps: Vec::new(),
            summary: Summary::default(),
            calm: false,
        }
    }

    fn partitions() -> impl Iterator<Item = TopicPartition> {
        (0..PARTITIONS).map(|partition| TopicPartition { topic: TOPIC, partition })
    }

    fn settings(&self) -> Settings {
        Settings {
            replicas: self.options.nodes,
            min_insync: 1,
            durability: self.options.durability,
            segment_bytes: 6_000,
            checkpoint_bytes: 1_500,
            ..Settings::default()
        }
    }

    fn step(&mut self, text: impl FnOnce() -> String) {
        let number = self.steps.len();
        self.steps.push(format!("{number}: {}", text()));
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.bring_up()?;
        let plan: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        let command = Command::CreateTopic {
            id: TOPIC,
            name: "orders".to_owned(),
            plans: vec![plan; PARTITIONS as usize],
            config: BTreeMap::new(),
        };
        let created = self.nodes[0].commit(&command);
        assert!(matches!(created, Some(Ok(_))), "no fault is planned yet: {created:?}");
        for partition in World::partitions() {
            let id = i64::from(partition.partition) + 10;
            self.producers.insert(partition, Producing::new(id, self.rng.fork()));
        }
        for _ in 0..self.rng.between(80, 400) {
            self.random_step()?;
        }
        self.come_to_rest()?;
        self.check_the_log()?;
        // Once more, from nothing but what was synced.
        for node in 0..self.nodes.len() {
            self.take_down(node, Some(Survival::Nothing));
        }
        self.bring_up()?;
        self.check_the_log()
    }

    fn random_step(&mut self) -> Result<(), Violation> {
        self.now_ms += self.rng.between(0, 40) as i64;
        match self.rng.below(100) {
            0..=1 if !self.calm => self.plan_a_stop(),
            2 if !self.calm => self.fault()?,
            3..=9 => self.bring_up()?,
            10..=19 => self.assign(false)?,
            20 if !self.calm => self.assign(true)?,
            21..=39 => self.produce(),
            40..=59 => self.offer()?,
            60..=64 => self.serve_syncs()?,
            65..=66 => self.background_sync(),
            67 => self.tick()?,
            68 if !self.calm => self.step_down()?,
            _ => self.carry_out_one()?,
        }
        self.take_down_stopped();
        self.acknowledge()
    }

    /// The process of some node will stop at one of its next operations.
    fn plan_a_stop(&mut self) {
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        let ahead = self.rng.below(12);
        let seed = self.rng.bits();
        let fs = &self.nodes[node].fs;
        let at = fs.operations() + ahead;
        if self.rng.chance(1, 2) { fs.stop_before(at) } else { fs.stop_within(at, seed) }
    }

    /// A node, or all of them, lose power or crash between two operations.
    fn fault(&mut self) -> Result<(), Violation> {
        let all = self.rng.chance(1, 3);
        let one = self.rng.below(self.nodes.len() as u64) as usize;
        for node in 0..self.nodes.len() {
            if all || node == one {
                let survival = self.survival();
                self.take_down(node, survival);
            }
        }
        if self.rng.chance(1, 2) { self.bring_up() } else { Ok(()) }
    }

    /// `None`: only the process.
    fn survival(&mut self) -> Option<Survival> {
        match self.rng.below(8) {
            0..=2 => None,
            3 | 4 => Some(Survival::Nothing),
            5 => Some(Survival::Everything),
            _ => Some(Survival::Seeded(self.rng.bits())),
        }
    }

    fn take_down_stopped(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].fs.is_stopped() {
                let survival = self.survival();
                self.take_down(node, survival);
            }
        }
    }

    /// The process of the node ends, and with `Some` the machine: its owners are gone, its store answers nothing.
    fn take_down(&mut self, node: usize, survival: Option<Survival>) {
        self.step(|| format!("node {node} goes down: {survival:?}"));
        if survival.is_some() {
            self.summary.power_cuts += 1;
            self.ledger.power_cut(self.nodes[node].id);
        } else {
            self.summary.crashes += 1;
        }
        self.nodes[node].end(survival);
        let dead: Vec<RunId> =
            self.runs.iter().filter(|(_, run)| run.node == node).map(|(id, _)| *id).collect();
        for run in dead {
            self.forget_run(run);
        }
    }

    fn forget_run(&mut self, run: RunId) {
        self.runs.remove(&run);
        self.queues.forget(run);
        for producing in self.producers.values_mut() {
            producing.run_ended(run);
        }
    }

    /// Starts what is down. Owners elsewhere learn that a store came back: it is lost to what it held open.
    fn bring_up(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_up() {
                continue;
            }
            self.step(|| format!("node {node} starts"));
            let Some(store_up) = self.nodes[node].start()? else { continue };
            self.ledger.started(self.nodes[node].id, &store_up)?;
            if node == 0 {
                self.ledger.metadata_found(&self.nodes[0].image())?;
            }
            let id = self.nodes[node].id;
            for run in self.runs.keys().copied().collect::<Vec<_>>() {
                self.queues.push(run, shell::Target::Run, Task::StoreCameBack(id));
            }
        }
        Ok(())
    }

    /// A new run of ownership where there is none; with `behind`, although there is one.
    fn assign(&mut self, behind: bool) -> Result<(), Violation> {
        if !self.nodes[0].is_up() {
            return Ok(());
        }
        let partition = TopicPartition { topic: TOPIC, partition: self.rng.below(PARTITIONS as u64) as i32 };
        let owned = self.runs.values().any(|run| {
            run.partition == partition
                && run.owner.phase() != Phase::Stopped
                && run.owner.epoch() == self.nodes[0].epoch(partition)
        });
        let up: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].is_up()).collect();
        if (owned && !behind) || up.is_empty() {
            return Ok(());
        }
        let node = *self.rng.pick(&up);
        let id = self.nodes[node].id;
        let command =
            Command::Assign { partition, expected_epoch: self.nodes[0].epoch(partition), owner: id };
        self.step(|| format!("{partition:?} is assigned to node {node}"));
        let Some(answer) = self.nodes[0].commit(&command) else { return Ok(()) };
        assert!(answer.is_ok(), "the image was just read: {answer:?}");
        self.start_run(partition, node);
        Ok(())
    }

    fn start_run(&mut self, partition: TopicPartition, node: usize) {
        let chain = self.nodes[0].chain_view(partition);
        let plan = self.nodes.iter().map(|n| n.id).collect();
        let alive = self.alive();
        let mut out = Vec::new();
        let epoch = chain.epoch;
        let owner = Owner::start(self.nodes[node].id, chain, plan, alive, self.settings(), &mut out);
        let run = self.next_run;
        self.next_run += 1;
        self.summary.owners += 1;
        self.step(|| format!("run {run} owns {partition:?} on node {node} in epoch {epoch}"));
        self.runs.insert(run, Run { partition, node, owner });
        self.queues.push_actions(run, out);
    }

    fn alive(&self) -> std::collections::BTreeSet<NodeId> {
        self.nodes.iter().filter(|n| n.is_up()).map(|n| n.id).collect()
    }

    /// Faults end; everything that waits is done; every partition ends sealed.
    fn come_to_rest(&mut self) -> Result<(), Violation> {
        self.calm = true;
        for node in &self.nodes {
            node.fs.stop_before(u64::MAX);
        }
        self.step(|| "coming to rest".to_owned());
        for _ in 0..20_000 {
            self.bring_up()?;
            self.random_step()?;
            let waits = self.producers.values().any(Producing::waits);
            if !waits && self.queues.is_empty() && self.owned_everywhere() {
                break;
            }
        }
        let waits = self.producers.values().any(Producing::waits);
        crate::violation::ensure!(
            !waits && self.owned_everywhere(),
            names::WORKS_WITHOUT_FAULT,
            "no rest after the faults ended: producers wait: {waits}, phases: {:?}",
            self.runs.values().map(|run| (run.partition.partition, run.owner.phase())).collect::<Vec<_>>()
        );
        self.seal_everything()
    }

    fn owned_everywhere(&self) -> bool {
        World::partitions().all(|partition| {
            self.runs.values().any(|run| {
                run.partition == partition
                    && run.owner.epoch() == self.nodes[0].epoch(partition)
                    && matches!(run.owner.phase(), Phase::Idle | Phase::Appending)
            })
        })
    }
}
