//! The uniform assignor where all members want the same topics.
//!
//! Every member gets `total / members` partitions, `total % members` of them one more. The members that already had more
//! than the lower quota are the first to get the higher one, so what moves is the least that balance allows: what stood
//! above the quotas, what is new, and what its owner lost.

use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::GroupSpec;
use crate::consumer::partitions::Partitions;

pub(super) fn assign(spec: &GroupSpec<'_>) -> Vec<Partitions> {
    let members = spec.members.len();
    let wants = &spec.members[0].wants;
    let total: usize = wants.iter().map(|place| spec.topics[*place].partitions.max(0) as usize).sum();
    let (low, mut extra) = (total / members, total % members);

    let standing = spec.still_assigned();
    let (mut owner, mut held) = (standing.owner, standing.held);

    let mut quota = vec![low; members];
    for rich in [true, false] {
        for (index, mine) in held.iter().enumerate() {
            if extra > 0 && (mine.len() > low) == rich {
                quota[index] += 1;
                extra -= 1;
            }
        }
    }
    assert_eq!(extra, 0, "fewer members than partitions over");

    for (mine, quota) in held.iter_mut().zip(&quota) {
        for (place, partition) in give_up(mine, mine.len().saturating_sub(*quota)) {
            owner[place][partition as usize] = None;
        }
    }

    // Dealt one at a time, so that the partitions of a busy topic go to many members rather than all to the next one.
    let mut below: VecDeque<usize> =
        (0..members).filter(|index| held[*index].len() < quota[*index]).collect();
    for &place in wants.iter() {
        for (partition, owner) in owner[place].iter().enumerate() {
            if owner.is_none() {
                let index = below.pop_front().expect("the quotas add up to the partitions");
                held[index].push((place, partition as i32));
                if held[index].len() < quota[index] {
                    below.push_back(index);
                }
            }
        }
    }
    held.iter().map(|mine| spec.to_partitions(mine)).collect()
}

/// Takes `count` out of `mine`, one by one from the topic of which it holds most, the highest partition first.
fn give_up(mine: &mut Vec<(usize, i32)>, count: usize) -> Vec<(usize, i32)> {
    if count == 0 {
        return Vec::new();
    }
    let mut by_topic: BTreeMap<usize, Vec<i32>> = BTreeMap::new();
    for &(place, partition) in mine.iter() {
        by_topic.entry(place).or_default().push(partition);
    }
    let mut fullest: BinaryHeap<(usize, usize)> =
        by_topic.iter().map(|(place, partitions)| (partitions.len(), *place)).collect();
    let mut given = Vec::with_capacity(count);
    for _ in 0..count {
        let (size, place) = fullest.pop().expect("it gives up no more than it holds");
        let partition = by_topic.get_mut(&place).and_then(Vec::pop).expect("the heap has the sizes");
        given.push((place, partition));
        if size > 1 {
            fullest.push((size - 1, place));
        }
    }
    *mine = by_topic
        .into_iter()
        .flat_map(|(place, partitions)| partitions.into_iter().map(move |partition| (place, partition)))
        .collect();
    given
}
