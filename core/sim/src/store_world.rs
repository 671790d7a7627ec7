//! One real store on one simulated disk, lives of random calls that end at any operation, and what must be true after.
//!
//! A run is a function of its seed. It has several lives: start, look at what the stop before left, work, stop cleanly,
//! crash, or lose power, at the end or before or within any operation. [`oracle`] knows what must be there; the chain
//! (which segments are open or sealed) is perfect metadata inside it. Workload: [`workload`]. Checks: [`check`].

mod check;
mod oracle;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use buslane_log::fs::Fs;
use buslane_log::{DataDir, Identity, Segment, Store, StoreOptions, SyncSite, Wanted};
use buslane_wire::ids::{NodeId, SegmentRef};

use crate::rng::Rng;
use crate::sim_fs::{Event, LostPages, SimFs, Survival, WriteFault};
use crate::violation::{Violation, ensure, names};
use oracle::Oracle;

/// The data folder. The first start makes it and its parent.
const DIR: &str = "/srv/buslane";

/// How to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The sync that is taken away.
    pub skip: Option<SyncSite>,
    /// Stops the process at exactly this operation of the disk, and cuts the power.
    pub cut_at: Option<u64>,
}

/// A run that broke something.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// How it was run.
    pub options: Options,
    /// Calls made before.
    pub step: usize,
    /// What broke.
    pub violation: Violation,
    /// The calls.
    pub calls: Vec<String>,
    /// What the disk was asked.
    pub trace: Vec<Event>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, step {}: {}", self.seed, self.step, self.violation)?;
        writeln!(f, "the last calls:")?;
        for call in self.calls.iter().rev().take(60).rev() {
            writeln!(f, "  {call}")?;
        }
        writeln!(f, "the last operations of the disk:")?;
        for event in self.trace.iter().rev().take(60).rev() {
            writeln!(f, "  {event}")?;
        }
        write!(f, "again: BUSLANE_SIM_SEED={} cargo test -p buslane-sim --test power_cuts", self.seed)?;
        match self.options.cut_at {
            Some(operation) => write!(f, " (power cut at operation {operation})"),
            None => Ok(()),
        }
    }
}

/// What a run did, to see that it does something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Calls of the store.
    pub calls: usize,
    /// Operations of the disk.
    pub operations: u64,
    /// One number over all of them.
    pub digest: u64,
    /// Power cuts.
    pub power_cuts: u32,
    /// Crashes of the process.
    pub crashes: u32,
    /// Clean stops.
    pub clean_stops: u32,
    /// Recoveries that called a copy whole.
    pub whole: u32,
    /// Recoveries that did not.
    pub not_whole: u32,
    /// Copies that were gone.
    pub missing: u32,
    /// Faults of the disk that were noticed.
    pub faults: u32,
    /// Segments sealed in the chain.
    pub sealed: u32,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.calls += other.calls;
        self.operations += other.operations;
        self.digest ^= other.digest;
        self.power_cuts += other.power_cuts;
        self.crashes += other.crashes;
        self.clean_stops += other.clean_stops;
        self.whole += other.whole;
        self.not_whole += other.not_whole;
        self.missing += other.missing;
        self.faults += other.faults;
        self.sealed += other.sealed;
    }
}

/// Runs one seed.
pub fn run(seed: u64, options: Options) -> Result<Summary, Box<Failure>> {
    let mut world = World::new(seed, options);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match result {
        Ok(Ok(())) => {
            world.summary.calls = world.calls.len();
            world.summary.operations = world.fs.operations();
            world.summary.digest = world.fs.trace_digest();
            return Ok(world.summary);
        }
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Violation { invariant: names::PANIC, detail: text.unwrap_or_default() }
        }
    };
    let (step, trace) = (world.calls.len(), world.fs.trace());
    Err(Box::new(Failure { seed, options, step, violation, calls: world.calls, trace }))
}

/// Why a life ends before its time.
enum Halt {
    /// The plan stopped the process.
    Stopped,
    /// The store can do nothing more after a fault of the disk.
    GaveUp,
    Violation(Violation),
}

impl From<Violation> for Halt {
    fn from(violation: Violation) -> Self {
        Halt::Violation(violation)
    }
}

/// The process that runs.
struct Running {
    _dir: DataDir,
    store: Store,
    /// Copies taken up in this life.
    segments: BTreeMap<SegmentRef, Arc<Segment>>,
}

struct World {
    seed: u64,
    options: Options,
    rng: Rng,
    fs: SimFs,
    oracle: Oracle,
    running: Option<Running>,
    /// As first answered.
    identity: Option<Identity>,
    identities_made: u32,
    store_options: StoreOptions,
    /// Odds of this run's calls.
    odds: workload::Odds,
    /// A fault may hit in this life.
    faulty: bool,
    calls: Vec<String>,
    summary: Summary,
}

impl World {
    fn new(seed: u64, options: Options) -> World {
        let mut rng = Rng::new(seed);
        let fs = SimFs::new();
        if rng.chance(1, 4) {
            fs.shorten_reads(seed);
        }
        let store_options = StoreOptions {
            open_files: *rng.pick(&[1, 3, 64]),
            sync_bytes: *rng.pick(&[4096, 1 << 20]),
            sync_everything_from: *rng.pick(&[1, 2, 64]),
            skip_sync: options.skip,
            ..StoreOptions::default()
        };
        World {
            seed,
            options,
            odds: workload::Odds::draw(&mut rng),
            rng,
            fs,
            oracle: Oracle::new(),
            running: None,
            identity: None,
            identities_made: 0,
            store_options,
            faulty: false,
            calls: Vec::new(),
            summary: Summary::default(),
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..self.rng.between(2, 5) {
            self.life(false)?;
        }
        // Whatever the last life left is looked at once more, wholly.
        self.life(true)
    }

    fn call(&mut self, text: impl FnOnce() -> String) {
        let number = self.calls.len();
        self.calls.push(format!("{number}: {}", text()));
    }

    /// Draws nothing from the run's own numbers: runs that differ only in where they are cut are alike up to there.
    fn plan_stop(&mut self, operation: u64) {
        if Rng::new(self.seed ^ operation).chance(1, 2) {
            self.fs.stop_before(operation);
        } else {
            self.fs.stop_within(operation, self.seed);
        }
    }

    /// From a start to the next stop. `last`: checks everything and does no work.
    fn life(&mut self, last: bool) -> Result<(), Violation> {
        let mut rng = self.rng.fork();
        self.faulty = false;
        if let Some(operation) = self.options.cut_at {
            self.plan_stop(operation);
        } else if !last {
            match rng.below(8) {
                0 => {}
                1 | 2 => self.faulty = true,
                // Starts are short: half of the stops hit early.
                n => {
                    let ahead = if n % 2 == 0 { rng.below(16) } else { rng.below(150) };
                    self.plan_stop(self.fs.operations() + ahead);
                }
            }
        }
        let halt = match self.live(last) {
            Ok(()) => None,
            Err(Halt::Violation(violation)) => return Err(violation),
            Err(halt) => Some(halt),
        };
        if last && halt.is_none() {
            return Ok(());
        }
        let clean = halt.is_none() && rng.chance(1, 3);
        let stopped = clean && self.stop_cleanly()?;
        self.end_life(&mut rng, stopped);
        if last { self.life(true) } else { Ok(()) }
    }

    fn live(&mut self, last: bool) -> Result<(), Halt> {
        self.start()?;
        if last {
            return self.check_everything();
        }
        let calls = self.rng.between(5, 60);
        let fault_at = self.faulty.then(|| self.rng.below(calls));
        for n in 0..calls {
            if fault_at == Some(n) {
                self.plan_fault();
            }
            self.random_call()?;
        }
        Ok(())
    }

    fn plan_fault(&mut self) {
        let after = self.rng.below(6);
        match self.rng.below(5) {
            0 => self.fs.fail_read(after),
            1 => {
                let (written, full) = (self.rng.below(200) as usize, self.rng.chance(1, 2));
                self.fs.fail_write(WriteFault { after, written, full });
            }
            _ => {
                let lost = *self.rng.pick(&[LostPages::Kept, LostPages::Clean, LostPages::Reverted]);
                self.fs.fail_sync(after, lost);
            }
        }
        self.call(|| "a fault is planned".to_owned());
    }

    /// Takes an answer. `None`: a fault of the disk hit the call, and the store says so.
    fn answered<T, E: fmt::Display>(&mut self, what: &str, result: Result<T, E>) -> Result<Option<T>, Halt> {
        match result {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                self.call(|| format!("  -> {error}"));
                if self.fs.is_stopped() {
                    return Err(Halt::Stopped);
                }
                let hit = self.faulty && self.fs.faults_hit() > 0;
                ensure!(hit, names::WORKS_WITHOUT_FAULT, "{what}: {error}");
                self.summary.faults += 1;
                self.oracle.fault_noticed();
                Ok(None)
            }
        }
    }

    fn start(&mut self) -> Result<(), Halt> {
        self.call(|| "start".to_owned());
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        let made = Identity {
            cluster_id: format!("cluster-{}", self.identities_made),
            node_id: NodeId(self.identities_made as i32),
        };
        self.identities_made += 1;
        let wanted = Wanted::default();
        let dir = DataDir::open_skipping(&fs, Path::new(DIR), &wanted, || made, self.options.skip);
        let Some(dir) = self.answered("opening the data folder", dir)? else { return Err(Halt::GaveUp) };
        self.identified(&dir)?;
        self.oracle.start_begins();
        let opened = Store::open(fs, Path::new(DIR), self.store_options.clone(), &self.fs.boot_id());
        let Some((store, report)) = self.answered("opening the store", opened)? else {
            return Err(Halt::GaveUp);
        };
        self.call(|| format!("  -> {report:?}"));
        self.oracle.started(&report)?;
        for (partition, state) in &self.oracle.partitions {
            let (answered, kept) = (state.promised, store.promised(*partition));
            ensure!(
                kept >= answered,
                names::FENCE_BEFORE_READ,
                "{partition}: promised {answered:?}, remembered {kept:?}"
            );
        }
        self.running = Some(Running { _dir: dir, store, segments: BTreeMap::new() });
        Ok(())
    }

    /// The folder's identity was answered, for ever.
    fn identified(&mut self, dir: &DataDir) -> Result<(), Violation> {
        let now = dir.identity();
        let first = self.identity.get_or_insert_with(|| now.clone());
        ensure!(first == now, names::IDENTITY_IS_STABLE, "it was {first:?}, it is {now:?}");
        Ok(())
    }

    /// True when it was answered.
    fn stop_cleanly(&mut self) -> Result<bool, Violation> {
        let Some(running) = self.running.take() else { return Ok(false) };
        self.call(|| "stop cleanly".to_owned());
        self.oracle.stop_begins();
        let closed = running.store.close();
        match self.answered("the clean stop", closed) {
            Ok(Some(())) => {
                self.oracle.stopped_cleanly();
                self.summary.clean_stops += 1;
                Ok(true)
            }
            Ok(None) => {
                self.oracle.stop_failed();
                Ok(false)
            }
            Err(Halt::Stopped | Halt::GaveUp) => Ok(false),
            Err(Halt::Violation(violation)) => Err(violation),
        }
    }

    fn end_life(&mut self, rng: &mut Rng, stopped_cleanly: bool) {
        let planned = self.options.cut_at.is_some() && self.fs.is_stopped();
        let cut = planned || rng.chance(2, 3);
        if cut {
            let survival = match rng.below(8) {
                0 | 1 => Survival::Nothing,
                2 => Survival::Everything,
                _ => Survival::Seeded(rng.bits()),
            };
            self.call(|| format!("power cut: {survival:?}"));
            self.fs = self.fs.power_cut(survival);
            self.oracle.power_cut();
            self.summary.power_cuts += 1;
        } else {
            if !stopped_cleanly {
                self.call(|| "process crash".to_owned());
                self.summary.crashes += 1;
            }
            self.fs = self.fs.process_crash();
            self.oracle.process_crashed();
        }
        // The dead process lets go only now: nothing of it reaches the disk.
        self.running = None;
    }
}
