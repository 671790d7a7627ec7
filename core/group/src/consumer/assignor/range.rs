//! The range assignor: each topic is cut into one contiguous range for each member that wants it.
//!
//! Members take their ranges in one order for all topics, so topics of the same size are cut alike and a member reads the
//! same partition numbers of each (co-partitioning, for joins). Static members come first, by their name: a restarted one
//! gets its old range back whatever its new id is. The last assignment plays no part.

use super::{GroupSpec, MemberSpec};
use crate::consumer::partitions::Partitions;

pub(super) fn assign(spec: &GroupSpec<'_>) -> Vec<Partitions> {
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by(|a, b| rank(&spec.members[*a]).cmp(&rank(&spec.members[*b])));

    let mut takers = vec![0usize; spec.topics.len()];
    for member in &spec.members {
        for &place in member.wants.iter() {
            takers[place] += 1;
        }
    }

    let mut taken = vec![0usize; spec.topics.len()];
    let mut result = vec![Partitions::new(); spec.members.len()];
    for index in order {
        for &place in spec.members[index].wants.iter() {
            let topic = spec.topics[place];
            for partition in share(topic.partitions, taken[place], takers[place]) {
                result[index].insert(topic.id, partition);
            }
            taken[place] += 1;
        }
    }
    result
}

/// Static members before others, each kind by its name.
fn rank<'a>(member: &MemberSpec<'a>) -> (bool, &'a str) {
    match member.instance_id {
        Some(instance) => (false, instance),
        None => (true, member.member_id),
    }
}

/// The range of the `nth` of `takers`: all get the same, the first few one more.
fn share(partitions: i32, nth: usize, takers: usize) -> std::ops::Range<i32> {
    let (partitions, nth, takers) = (i64::from(partitions.max(0)), nth as i64, takers as i64);
    let (each, extra) = (partitions / takers, partitions % takers);
    let start = nth * each + nth.min(extra);
    let end = start + each + i64::from(nth < extra);
    start as i32..end as i32
}
