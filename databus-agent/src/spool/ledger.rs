//! What the drain of a channel has to know after a restart, as records of their own log: plans, new names, targets, how far
//! all is confirmed.
//!
//! Each record is one CBOR value (RFC 8949) in a record of a batch. The log is folded into [`Ledger`] at a start; when it has
//! grown it begins anew with what still matters. It stays below a few segments of [`SEGMENT_BYTES`], whatever the backlog.

use std::sync::Arc;

use buslane_log::Store;
use buslane_wire::batch::{BatchBuilder, BatchOptions, BatchRecords, Batches, NewRecord};
use buslane_wire::ids::TopicPartition;
use minicbor::{Decode, Encode};

use super::chain::{Chain, ChainError, Found};
use crate::drain::{Part, Place, Plan, ProducerId, Reassignment, Target};
use crate::route::Partitioner;

/// The ledger begins anew beyond so many bytes.
pub const SEGMENT_BYTES: u64 = 1 << 20;

/// Bytes that are read at once; a batch of the ledger is far smaller.
const READ_BYTES: u64 = 4 << 20;

/// Where a channel's events go, as the drain needs it to build a batch again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Route {
    /// By its name in the configuration.
    #[n(0)]
    pub cluster: String,
    /// The topic's name.
    #[n(1)]
    pub topic: String,
    /// Partitions the topic had.
    #[n(2)]
    pub partitions: i32,
    /// Which of them an event goes to.
    #[n(3)]
    pub partitioner: Partitioner,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
struct PartRecord {
    #[n(0)]
    partition: i32,
    #[n(1)]
    count: i32,
    #[n(2)]
    producer_id: i64,
    #[n(3)]
    producer_epoch: i16,
    #[n(4)]
    base_sequence: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum Entry {
    /// Whose ledger it is.
    #[n(0)]
    Channel(#[n(0)] String),
    #[n(1)]
    Target(#[n(0)] u64, #[n(1)] Route),
    /// Number, target, from, to, parts.
    #[n(2)]
    Plan(#[n(0)] u64, #[n(1)] u64, #[n(2)] i64, #[n(3)] i64, #[n(4)] Vec<PartRecord>),
    /// Target, partition, producer id and epoch, plans with their base sequences.
    #[n(3)]
    Reassignment(#[n(0)] u64, #[n(1)] i32, #[n(2)] i64, #[n(3)] i16, #[n(4)] Vec<(u64, i32)>),
    /// The plans from this number on were never sent and are forgotten.
    #[n(4)]
    Dropped(#[n(0)] u64),
    /// Everything below is confirmed.
    #[n(5)]
    Confirmed(#[n(0)] i64),
}

/// What is known after a start.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The channel's name; none for a new ledger.
    pub channel: Option<String>,
    /// Targets that plans name, and the newest.
    pub targets: Vec<(Target, Route)>,
    /// In order, with consecutive numbers; the last one stays for its number.
    pub plans: Vec<Plan>,
    /// Those that plans above need, in order.
    pub reassignments: Vec<Reassignment>,
    /// Everything below is confirmed.
    pub confirmed: i64,
}

impl State {
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Channel(name) => self.channel = Some(name),
            Entry::Target(number, route) => {
                self.targets.retain(|(known, _)| *known != Target(number));
                self.targets.push((Target(number), route));
            }
            Entry::Plan(number, target, from, to, parts) => {
                // A plan of the same number is there when the ledger began anew in between.
                self.forget_plans(number);
                let parts = parts.into_iter().map(part).collect();
                self.plans.push(Plan { number, target: Target(target), from, to, parts });
            }
            Entry::Reassignment(target, partition, id, epoch, plans) => {
                let place = Place { target: Target(target), partition };
                self.reassignments.push(Reassignment { place, producer: ProducerId { id, epoch }, plans });
            }
            Entry::Dropped(from) => self.forget_plans(from),
            Entry::Confirmed(to) => self.confirmed = self.confirmed.max(to),
        }
        let last = self.plans.last().map(|plan| plan.number);
        self.plans.retain(|plan| plan.to > self.confirmed || Some(plan.number) == last);
        let first = self.plans.first().map_or(u64::MAX, |plan| plan.number);
        self.reassignments.retain(|new| new.plans.iter().any(|(number, _)| *number >= first));
    }

    /// Their numbers are given again, and the new names that they had mean nothing for those who get them.
    fn forget_plans(&mut self, from: u64) {
        self.plans.retain(|plan| plan.number < from);
        for new in &mut self.reassignments {
            new.plans.retain(|(number, _)| *number < from);
        }
    }

    /// What a new ledger begins with.
    fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = self.channel.clone().map(Entry::Channel).into_iter().collect();
        let newest = self.targets.last().map(|(target, _)| *target);
        let used =
            |target: Target| Some(target) == newest || self.plans.iter().any(|plan| plan.target == target);
        let targets = self.targets.iter().filter(|(target, _)| used(*target));
        entries.extend(targets.map(|(target, route)| Entry::Target(target.0, route.clone())));
        entries.push(Entry::Confirmed(self.confirmed));
        entries.extend(self.plans.iter().map(plan_entry));
        entries.extend(self.reassignments.iter().map(reassignment_entry));
        entries
    }
}

fn part(part: PartRecord) -> Part {
    Part {
        partition: part.partition,
        count: part.count,
        producer: ProducerId { id: part.producer_id, epoch: part.producer_epoch },
        base_sequence: part.base_sequence,
    }
}

fn plan_entry(plan: &Plan) -> Entry {
    let parts = plan.parts.iter().map(|part| PartRecord {
        partition: part.partition,
        count: part.count,
        producer_id: part.producer.id,
        producer_epoch: part.producer.epoch,
        base_sequence: part.base_sequence,
    });
    Entry::Plan(plan.number, plan.target.0, plan.from, plan.to, parts.collect())
}

fn reassignment_entry(new: &Reassignment) -> Entry {
    let Reassignment { place, producer, plans } = new;
    Entry::Reassignment(place.target.0, place.partition, producer.id, producer.epoch, plans.clone())
}

/// A channel's ledger, open.
#[derive(Debug)]
pub struct Ledger {
    chain: Arc<Chain>,
    state: State,
    builder: BatchBuilder,
    batch: Vec<u8>,
    /// Where the records begin that still matter.
    begun_at: i64,
}

impl Ledger {
    /// Takes up the ledger of a channel, or begins one.
    ///
    /// # Errors
    /// When the disk fails, or the ledger is damaged where no crash can have done it: what was sent is not known then.
    pub fn open(
        store: Arc<Store>,
        partition: TopicPartition,
        channel: &str,
    ) -> Result<(Ledger, Found), ChainError> {
        let (chain, found) = Chain::open(store, partition, SEGMENT_BYTES)?;
        let mut state = State::default();
        let mut at = chain.start();
        while let Some(slice) = chain.read(at, READ_BYTES, chain.end())? {
            let bytes = slice.to_vec().map_err(|e| ChainError::Io(e.to_string()))?;
            for entry in entries(&bytes)? {
                state.apply(entry);
            }
            at = slice.end_offset;
        }
        let mut ledger = Ledger {
            begun_at: chain.start(),
            chain: Arc::new(chain),
            state,
            builder: BatchBuilder::default(),
            batch: Vec::new(),
        };
        if ledger.state.channel.is_none() {
            ledger.write(vec![Entry::Channel(channel.to_owned())])?;
        }
        Ok((ledger, found))
    }

    /// What is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A target that plans will name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn target(&mut self, target: Target, route: &Route) -> Result<(), ChainError> {
        self.write(vec![Entry::Target(target.0, route.clone())])
    }

    /// A plan, and how far all before it is confirmed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn plan(&mut self, plan: &Plan, confirmed: i64) -> Result<(), ChainError> {
        let entry = plan_entry(plan);
        if confirmed > self.state.confirmed {
            self.write(vec![Entry::Confirmed(confirmed), entry])
        } else {
            self.write(vec![entry])
        }
    }

    /// New names for parts of plans.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn reassignment(&mut self, new: &Reassignment) -> Result<(), ChainError> {
        self.write(vec![reassignment_entry(new)])
    }

    /// The plans from a number on were never sent.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn dropped(&mut self, from: u64) -> Result<(), ChainError> {
        self.write(vec![Entry::Dropped(from)])
    }

    /// Everything below is confirmed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn confirmed(&mut self, to: i64) -> Result<(), ChainError> {
        if to <= self.state.confirmed {
            return Ok(());
        }
        self.write(vec![Entry::Confirmed(to)])
    }

    /// Its log, to be synced.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    fn write(&mut self, entries: Vec<Entry>) -> Result<(), ChainError> {
        let mut values = Vec::with_capacity(entries.len());
        for entry in &entries {
            values.push(minicbor::to_vec(entry).expect("a vector takes all bytes"));
        }
        append(&self.chain, &mut self.builder, &mut self.batch, &values)?;
        for entry in entries {
            self.state.apply(entry);
        }
        // What came before the summary goes once the summary is durable: at the next call that finds it so.
        if self.begun_at > self.chain.start() && self.chain.durable_end() > self.begun_at {
            self.chain.trim(self.begun_at);
        } else if self.chain.bytes() > 2 * SEGMENT_BYTES && self.begun_at <= self.chain.start() {
            self.summarise()?;
        }
        Ok(())
    }

    /// Writes what still matters behind everything else.
    fn summarise(&mut self) -> Result<(), ChainError> {
        let at = self.chain.begin_anew()?;
        let values: Vec<Vec<u8>> = self
            .state
            .entries()
            .iter()
            .map(|entry| minicbor::to_vec(entry).expect("a vector takes all bytes"))
            .collect();
        append(&self.chain, &mut self.builder, &mut self.batch, &values)?;
        self.begun_at = at;
        Ok(())
    }
}

fn append(
    chain: &Chain,
    builder: &mut BatchBuilder,
    batch: &mut Vec<u8>,
    values: &[Vec<u8>],
) -> Result<(), ChainError> {
    batch.clear();
    builder.clear();
    for value in values {
        builder.push(&NewRecord { value: Some(value), ..NewRecord::default() });
    }
    builder.build(&BatchOptions::default(), batch).expect("plans are small");
    chain.append(batch).map(drop)
}

/// The entries of whole batches.
fn entries(bytes: &[u8]) -> Result<Vec<Entry>, ChainError> {
    let mut entries = Vec::new();
    let bad = |reason: &dyn std::fmt::Display| {
        ChainError::Io(format!("the spool's ledger holds something else than plans: {reason}"))
    };
    for batch in Batches::new(bytes) {
        let (_, _, batch) = batch.map_err(|e| bad(&e))?;
        let records = BatchRecords::open(batch, READ_BYTES as usize).map_err(|e| bad(&e))?;
        for record in records.iter() {
            let value = record.map_err(|e| bad(&e))?.value.unwrap_or_default();
            entries.push(minicbor::decode(value).map_err(|e| bad(&e))?);
        }
    }
    Ok(entries)
}
