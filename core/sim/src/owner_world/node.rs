//! One node: its disk, its store, and on the first one the metadata.

use std::path::Path;
use std::sync::Arc;

use buslane_log::fs::Fs;
use buslane_log::{DataDir, Identity, OpenReport, Store, StoreOptions, Wanted};
use buslane_meta::{Command, Event, Image, LocalState, PartitionImage, Refused};
use buslane_partition::{ChainView, OpenView};
use buslane_wire::ids::{LeaderEpoch, NodeId, TopicPartition};

use super::Options;
use crate::rng::Rng;
use crate::sim_fs::{SimFs, Survival};
use crate::violation::{Violation, ensure, names};

const DIR: &str = "/srv/buslane";

/// What lives with the process.
struct Process {
    _dir: DataDir,
    store: Store,
    meta: Option<LocalState>,
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) fs: SimFs,
    options: Options,
    store_options: StoreOptions,
    snapshot_after: u64,
    process: Option<Process>,
    /// Of the metadata as last seen here: what an owner elsewhere still knows while this node is down.
    image: Arc<Image>,
    /// Raised at each start: answers meant for an earlier process are dropped.
    pub(super) run: u64,
}

impl Node {
    pub(super) fn new(number: usize, rng: &mut Rng, options: Options) -> Node {
        Node {
            id: NodeId(number as i32 + 1),
            fs: SimFs::new(),
            options,
            store_options: StoreOptions {
                open_files: 2,
                sync_bytes: *rng.pick(&[2_000, 1 << 20]),
                sync_everything_from: *rng.pick(&[1, 64]),
                skip_sync: options.skip,
                ..StoreOptions::default()
            },
            snapshot_after: *rng.pick(&[500, 1 << 30]),
            process: None,
            image: Arc::new(Image::default()),
            run: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn store(&self) -> Option<&Store> {
        self.process.as_ref().map(|process| &process.store)
    }

    /// `None`: the plan stopped the process again.
    pub(super) fn start(&mut self) -> Result<Option<OpenReport>, Violation> {
        let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
        let dir = Path::new(DIR);
        let id = self.id;
        let opened = || -> Result<(Process, OpenReport), String> {
            let made = || Identity { cluster_id: "cluster".to_owned(), node_id: id };
            let wanted = Wanted { cluster_id: None, node_id: Some(id) };
            let folder = DataDir::open_skipping(&fs, dir, &wanted, made, self.options.skip);
            let folder = folder.map_err(|e| e.to_string())?;
            let options = self.store_options.clone();
            let opened = Store::open(fs.clone(), dir, options, &self.fs.boot_id());
            let (store, report) = opened.map_err(|e| e.to_string())?;
            let meta = match id {
                NodeId(1) => {
                    let state = LocalState::open_skipping(fs.clone(), dir, self.options.skip_meta);
                    let mut state = state.map_err(|e| e.to_string())?;
                    state.snapshot_after(self.snapshot_after);
                    Some(state)
                }
                _ => None,
            };
            Ok((Process { _dir: folder, store, meta }, report))
        };
        match opened() {
            Ok((process, report)) => {
                if let Some(meta) = &process.meta {
                    self.image = meta.image().clone();
                }
                self.process = Some(process);
                self.run += 1;
                Ok(Some(report))
            }
            Err(error) => {
                ensure!(
                    self.fs.is_stopped(),
                    names::WORKS_WITHOUT_FAULT,
                    "node {id} does not start: {error}"
                );
                Ok(None)
            }
        }
    }

    /// Ends the process, and with `Some` the machine.
    pub(super) fn end(&mut self, survival: Option<Survival>) {
        self.fs = match survival {
            Some(survival) => self.fs.power_cut(survival),
            None => self.fs.process_crash(),
        };
        // The dead process lets go only now: nothing of it reaches the disk.
        self.process = None;
    }

    /// `None`: there is no answer, and nobody knows whether the command is in the image.
    pub(super) fn commit(&mut self, command: &Command) -> Option<Result<Event, Refused>> {
        let meta = self.process.as_mut()?.meta.as_mut().expect("metadata lives on the first node");
        let outcomes = meta.commit(std::slice::from_ref(command)).ok()?;
        self.image = meta.image().clone();
        outcomes.into_iter().next()
    }

    /// The metadata as last seen.
    pub(super) fn image(&self) -> Arc<Image> {
        self.image.clone()
    }

    fn partition(&self, partition: TopicPartition) -> &PartitionImage {
        self.image.partition(partition).expect("the topic is never deleted")
    }

    pub(super) fn epoch(&self, partition: TopicPartition) -> LeaderEpoch {
        self.partition(partition).epoch
    }

    pub(super) fn chain_view(&self, partition: TopicPartition) -> ChainView {
        let partition = self.partition(partition);
        ChainView {
            epoch: partition.epoch,
            sealed_end_offset: partition.sealed_end_offset,
            log_start_offset: partition.log_start_offset,
            open: partition.open_segment().map(|segment| OpenView {
                segment: segment.id,
                base_offset: segment.base_offset,
                epoch: segment.epoch,
                stores: segment.stores.clone(),
                durability: segment.durability,
            }),
        }
    }
}
