//! Which partition an event goes to: a function of the event and of the plan it is in, and of nothing else, so that a batch
//! can be built again after a restart.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Events without a key that follow one another into the same partition: enough that batches are worth their headers.
const RUN: i64 = 256;

/// How a partition is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// By the key, as Java's and librdkafka's `murmur2` do; events without a key as [`Partitioner::Sticky`].
    #[default]
    #[n(0)]
    Key,
    /// One after the other.
    #[n(1)]
    RoundRobin,
    /// Runs of events to one partition each, another for each plan.
    #[n(2)]
    Sticky,
}

impl Partitioner {
    /// The partition, of `partitions`, of the event at an offset of the spool, in a plan that begins at `from`.
    pub fn partition(self, key: Option<&[u8]>, offset: i64, from: i64, partitions: i32) -> i32 {
        let at = match (self, key) {
            (Partitioner::Key, Some(key)) => i64::from(murmur2(key) & 0x7fff_ffff),
            (Partitioner::RoundRobin, _) => offset,
            (Partitioner::Key | Partitioner::Sticky, _) => mixed(from).wrapping_add((offset - from) / RUN),
        };
        at.rem_euclid(i64::from(partitions)) as i32
    }
}

/// Spreads what differs little (the finalizer of splitmix64, Steele et al. 2014).
fn mixed(value: i64) -> i64 {
    let mut z = (value as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 1) as i64
}

/// MurmurHash2 with 32 bits and the seed of Kafka's clients (`Utils.murmur2`).
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().expect("chunks of four")).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafkas_clients_send_them() {
        // Values of org.apache.kafka.common.utils.Utils.murmur2, as UtilsTest of Apache Kafka has them.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn what_has_no_key_goes_in_runs_and_everywhere() {
        let of = |partitioner: Partitioner, offset, from| partitioner.partition(None, offset, from, 16);
        let run: Vec<i32> = (100..100 + RUN).map(|offset| of(Partitioner::Key, offset, 100)).collect();
        assert!(run.iter().all(|partition| *partition == run[0]));
        assert_eq!(of(Partitioner::Key, 100 + RUN, 100), (run[0] + 1) % 16);
        let mut seen: Vec<i32> = (0..400).map(|plan| of(Partitioner::Sticky, plan * 7, plan * 7)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..16).collect::<Vec<_>>());
        assert_eq!(
            (0..4).map(|n| of(Partitioner::RoundRobin, 14 + n, 14)).collect::<Vec<_>>(),
            [14, 15, 0, 1]
        );
        assert_eq!(
            Partitioner::RoundRobin.partition(Some(b"k"), 3, 0, 16),
            Partitioner::RoundRobin.partition(None, 3, 0, 16)
        );
    }
}
