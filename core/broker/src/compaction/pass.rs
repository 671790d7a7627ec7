//! One pass over one partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use buslane_log::cleaner::{CleanError, CleanRules, Cleaned, CleanedCopy, PassOptions, compact, discard};
use buslane_meta::{COMPACTED, Command, Image, Replacement, SegmentImage};
use buslane_wire::ids::{LeaderEpoch, SegmentId};

use super::CompactionSettings;
use super::due::{Due, cleanable_now};
use crate::node::Node;
use crate::partitions::Partition;
use crate::topic_config::TopicConfig;

/// Bytes of work between two looks at the clock: waits of a millisecond are not worth one.
const LOOK_BYTES: u64 = 256 << 10;

/// Records of one batch, after decompression: as many as a producer's batch may have.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// What a pass did.
pub(super) struct Done {
    pub(super) clean_end_offset: i64,
    pub(super) cleaned: Cleaned,
}

/// What a pass made, before the metadata knows of it.
struct Made {
    epoch: LeaderEpoch,
    chain: Vec<Arc<SegmentImage>>,
    copies: Vec<CleanedCopy>,
    done: Done,
}

/// Compacts a partition; nothing when it could not be done now and nothing is wrong: the node stops, or the partition is
/// another one's by now.
pub(super) async fn run(
    node: &Arc<Node>,
    due: Due,
    settings: &CompactionSettings,
) -> anyhow::Result<Option<Done>> {
    let (working, settings, partition) = (node.clone(), *settings, due.partition.clone());
    let made = node.runtime.spawn_blocking(move || make(&working, &due, &settings)).await??;
    let Some(Made { epoch, chain, copies, done }) = made else { return Ok(None) };
    // Somebody may have been told meanwhile that nothing is compacted here any more.
    if config(node, &partition).is_none() {
        let node = node.clone();
        let _ = node.runtime.clone().spawn_blocking(move || discard(&node.context.store, &copies)).await;
        return Ok(None);
    }
    let replacements = copies.iter().map(|copy| replacement(node, &chain, copy)).collect();
    let clean_end_offset = done.clean_end_offset;
    let command = Command::ReplaceSegments { partition: partition.id, epoch, replacements, clean_end_offset };
    match node.propose_all(vec![command]).await {
        Ok(outcomes) => match outcomes.into_iter().next().expect("one outcome for one command") {
            Ok(_) => {
                copies.iter().for_each(|copy| node.context.settle(copy.segment));
                Ok(Some(done))
            }
            Err(refused) => {
                // The chain moved on meanwhile: DeleteRecords, another owner.
                tracing::info!(?partition, %refused, "what was compacted is not taken; it is done again");
                let node = node.clone();
                // Where it fails they are orphans at the next start.
                let _ =
                    node.runtime.clone().spawn_blocking(move || discard(&node.context.store, &copies)).await;
                Ok(None)
            }
        },
        // With one voter the node ends by itself then, and its next start removes what the chain does not know.
        Err(code) => Err(anyhow::anyhow!("no answer from the metadata ({code})")),
    }
}

fn replacement(node: &Node, chain: &[Arc<SegmentImage>], copy: &CleanedCopy) -> Replacement {
    Replacement {
        old: chain[copy.old.clone()].iter().map(|s| s.id).collect(),
        new: copy.segment.segment,
        base_offset: copy.base_offset,
        end_offset: copy.end_offset,
        bytes: copy.bytes,
        max_timestamp: copy.max_timestamp,
        stores: vec![node.id],
    }
}

/// The settings of a partition's topic, while they say that it is compacted.
fn config(node: &Node, partition: &Partition) -> Option<Arc<TopicConfig>> {
    let topics = node.topics.load();
    topics.with_id(partition.id.topic).map(|topic| topic.config.clone()).filter(|config| config.compact)
}

/// Writes and syncs the new segments. Blocks on the disk.
fn make(node: &Node, due: &Due, settings: &CompactionSettings) -> anyhow::Result<Option<Made>> {
    let image = node.consensus.image();
    let Some(p) = image.partition(due.partition.id).filter(|p| p.owner == Some(node.id)) else {
        return Ok(None);
    };
    // Others were compacted since it was found to be due: what holds now counts.
    let Some(config) = config(node, &due.partition) else { return Ok(None) };
    let now_ms = node.context.clock.wall_ms();
    let Some(segments) = cleanable_now(&due.partition, p, &config, now_ms) else { return Ok(None) };
    let chain: Vec<Arc<SegmentImage>> = p.chain.iter().take(segments).cloned().collect();
    let mut old = Vec::with_capacity(chain.len());
    for segment in &chain {
        if segment.end_offset().is_none() || segment.stores != [node.id] {
            return Ok(None);
        }
        old.push(due.partition.load_sealed(segment)?);
    }
    let options = PassOptions {
        rules: CleanRules {
            now_ms,
            delete_retention_ms: config.delete_retention_ms,
            producers_since_ms: now_ms.saturating_sub(node.context.producer_expiry_ms),
            batch_bytes_max: BATCH_BYTES_MAX,
        },
        table_bytes: settings.table_bytes,
        secrets: uuid::Uuid::new_v4().as_u64_pair(),
        segment_bytes: config.segment_bytes,
        owner_epoch: p.epoch,
    };
    let mut draw = || due.partition.segment_ref(SegmentId((p.epoch.0 as u64) << 32 | COMPACTED | number()));
    let clean_end = p.clean_end_offset.unwrap_or(0);
    let store = &node.context.store;
    match compact(store, &old, clean_end, &options, &mut draw, &mut pace(node, *settings)) {
        Ok(made) => Ok(made.map(|made| Made {
            epoch: p.epoch,
            chain,
            copies: made.copies,
            done: Done { clean_end_offset: made.clean_end_offset, cleaned: made.cleaned },
        })),
        Err(CleanError::Stopped) if node.is_stopping() => Ok(None),
        Err(CleanError::Stopped) => Err(anyhow::anyhow!("the disk is nearly full")),
        // Files of segments that retention dropped, or of a topic that was deleted meanwhile, are not there any more.
        Err(error) if still_has(&node.consensus.image(), due, &chain) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

fn still_has(image: &Image, due: &Due, chain: &[Arc<SegmentImage>]) -> bool {
    // They go from the first on.
    let now = image.partition(due.partition.id).and_then(|p| p.chain.first());
    now.map(|segment| segment.id) == chain.first().map(|segment| segment.id)
}

/// A number that no other segment of this run has. An epoch belongs to one run, so with it the id is new for ever.
fn number() -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    assert!(drawn < COMPACTED, "{drawn} segments were compacted in one run");
    drawn
}

/// Longest sleep between two looks at whether to go on.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Keeps to a rate by waiting, and ends the pass when the node stops or its disk is nearly full: what is left of it is for
/// the metadata and for readers.
fn pace(node: &Node, settings: CompactionSettings) -> impl FnMut(u64) -> bool {
    let mut begun = Instant::now();
    let mut bytes = 0;
    move |work| {
        let goes_on = || !node.is_stopping() && node.accepts_writes();
        bytes += work;
        if bytes >= LOOK_BYTES {
            let rate = node.server_values.load().compaction(settings).rate;
            let mut left = to_wait(bytes, rate, begun.elapsed());
            while !left.is_zero() && goes_on() {
                std::thread::sleep(left.min(SLEEP_MAX));
                left = left.saturating_sub(SLEEP_MAX);
            }
            // Time that was not used is not made up for.
            (begun, bytes) = (Instant::now(), 0);
        }
        goes_on()
    }
}

/// How long to wait after so many bytes in a time.
fn to_wait(bytes: u64, rate: u64, taken: Duration) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate as f64).saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept() {
        let second = Duration::from_secs(1);
        assert_eq!(to_wait(3 << 20, 1 << 20, second), 2 * second);
        assert_eq!(to_wait(1 << 20, 1 << 20, 2 * second), Duration::ZERO);
    }
}
