//! Whether the parts of a data folder fit each other: a start over parts that do not would lose what they hold.

use std::path::Path;

use anyhow::Context as _;
use buslane_log::fs::Fs;
use buslane_log::{Store, has_segments};
use buslane_meta::{Image, MetaLog};
use buslane_wire::ids::{LeaderEpoch, TopicPartition};

/// Without its metadata nobody knows what segments belong to: a new cluster would be founded over them, and they would be
/// taken for leftovers.
pub fn refuse_without_metadata(fs: &dyn Fs, data: &Path) -> anyhow::Result<()> {
    let (meta, log) = (data.join("meta"), data.join("log"));
    let failed = |error| anyhow::Error::new(error).context(format!("{} cannot be read", data.display()));
    if !MetaLog::is_there(fs, data).map_err(failed)? && has_segments(fs, data).map_err(failed)? {
        anyhow::bail!(
            "{}: it is missing or empty, but {} has segments, and without it nobody knows of which topics: bring back a \
             copy of the whole data folder, or choose another one",
            meta.display(),
            log.display()
        );
    }
    Ok(())
}

/// The metadata of another cluster, or an older copy of it, would give offsets out again that records already have.
pub fn refuse_foreign_metadata(
    data: &Path,
    cluster_id: &str,
    image: &Image,
    store: &Store,
) -> anyhow::Result<()> {
    let meta = data.join("meta");
    if let Some(other) = image.cluster_id.as_deref().filter(|known| *known != cluster_id) {
        anyhow::bail!(
            "{}: it belongs to cluster {other}, and the data folder to cluster {cluster_id}: bring back the one that \
             belongs here",
            meta.display()
        );
    }
    let older = |partition: TopicPartition, known: LeaderEpoch, found: String| {
        anyhow::anyhow!(
            "{}: it is older than what stands beside it: it knows partition {partition} in epoch {known}, and {found}. A \
             copy of this folder alone is of no use: bring back a copy of the whole data folder",
            meta.display()
        )
    };
    for (partition, known) in image.partitions() {
        if let Some(promised) = store.promised(partition).filter(|promised| *promised > known.epoch) {
            return Err(older(partition, known.epoch, format!("the store promised epoch {promised}")));
        }
    }
    let copies = store.list().with_context(|| format!("{} cannot be read", data.display()))?;
    for copy in copies {
        let partition = copy.segment.partition;
        // Of a partition that is not known at all nobody can tell whether it was deleted.
        let Some(known) = image.partition(partition) else { continue };
        if copy.segment.segment.0 >> 32 > known.epoch.0 as u64 {
            let found = format!(
                "there is segment {} of epoch {}",
                copy.segment.segment,
                copy.segment.segment.0 >> 32
            );
            return Err(older(partition, known.epoch, found));
        }
    }
    Ok(())
}
