//! The uniform assignor where members want different topics.
//!
//! Three steps: what stands, stays; each free partition goes to the member with the fewest among those that want its
//! topic; then partitions move from members with many to members with few. A move need not be direct: when A shares topics
//! only with B and B with C, one partition goes from A to B and another from B to C. The search is a breadth-first one, so
//! the chains are as short as can be, and it ends when no chain helps: then no other assignment has a smaller sum of
//! squared loads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::{GroupSpec, Standing};
use crate::consumer::partitions::Partitions;

/// Steps of the search for chains, at most: beyond it (a group far larger than any seen) the balance found so far stands.
const MAX_SEARCH_STEPS: usize = 50_000_000;

pub(super) fn assign(spec: &GroupSpec<'_>) -> Vec<Partitions> {
    let mut table = Table::new(spec);
    table.fill();
    table.balance();
    table.into_result()
}

struct Table<'a> {
    spec: &'a GroupSpec<'a>,
    /// By topic: the members that want it, ascending.
    takers: Vec<Vec<usize>>,
    /// By topic, by place among its takers: the partitions that member has.
    has: Vec<Vec<Vec<i32>>>,
    /// By topic: partitions that nobody has.
    free: Vec<Vec<i32>>,
    /// By member: how many partitions it has.
    load: Vec<usize>,
}

impl<'a> Table<'a> {
    fn new(spec: &'a GroupSpec<'a>) -> Table<'a> {
        let mut takers = vec![Vec::new(); spec.topics.len()];
        for (index, member) in spec.members.iter().enumerate() {
            for &place in member.wants.iter() {
                takers[place].push(index);
            }
        }
        let Standing { owner, held } = spec.still_assigned();
        let mut has: Vec<Vec<Vec<i32>>> =
            takers.iter().map(|takers| vec![Vec::new(); takers.len()]).collect();
        for (index, mine) in held.iter().enumerate() {
            for &(place, partition) in mine {
                has[place][at(&takers[place], index)].push(partition);
            }
        }
        let free = owner
            .iter()
            .map(|owners| {
                (0..owners.len() as i32).filter(|partition| owners[*partition as usize].is_none()).collect()
            })
            .collect();
        let load = held.iter().map(Vec::len).collect();
        Table { spec, takers, has, free, load }
    }

    /// Gives out what is free: topics with the most partitions for each taker first, since they leave the least choice.
    fn fill(&mut self) {
        let mut order: Vec<usize> = (0..self.takers.len())
            .filter(|topic| !self.takers[*topic].is_empty() && !self.free[*topic].is_empty())
            .collect();
        order.sort_by_key(|&topic| {
            let (partitions, takers) =
                (self.spec.topics[topic].partitions as u64, self.takers[topic].len() as u64);
            (Reverse(partitions * 1_000_000 / takers), takers, topic)
        });
        for topic in order {
            let mut poorest: BinaryHeap<Reverse<(usize, usize)>> =
                self.takers[topic].iter().map(|member| Reverse((self.load[*member], *member))).collect();
            for partition in std::mem::take(&mut self.free[topic]) {
                let Reverse((load, member)) = poorest.pop().expect("the topic has takers");
                self.has[topic][at(&self.takers[topic], member)].push(partition);
                self.load[member] = load + 1;
                poorest.push(Reverse((load + 1, member)));
            }
        }
    }

    /// Moves partitions along chains until none helps.
    fn balance(&mut self) {
        let mut settled = vec![false; self.load.len()];
        let mut steps = 0;
        while let Some(level) = (0..self.load.len()).filter(|m| !settled[*m]).map(|m| self.load[m]).max() {
            if steps > MAX_SEARCH_STEPS {
                return;
            }
            match self.search(level, &settled, &mut steps) {
                Ok(chain) => self.shift(&chain),
                // What the fullest can reach cannot become more even, and nothing leads out of it.
                Err(reached) => reached.into_iter().for_each(|member| settled[member] = true),
            }
        }
    }

    /// Looks for the shortest chain from a member with `level` partitions to one with at least two fewer: the members on
    /// it, each with the topic of which it hands one on. `Err` has every member that can be reached.
    fn search(&self, level: usize, settled: &[bool], steps: &mut usize) -> Result<Vec<Link>, Vec<usize>> {
        let mut from: Vec<Option<Link>> = vec![None; self.load.len()];
        let mut seen = vec![false; self.load.len()];
        let mut asked = vec![false; self.takers.len()];
        let mut reached: Vec<usize> =
            (0..self.load.len()).filter(|m| !settled[*m] && self.load[*m] == level).collect();
        reached.iter().for_each(|member| seen[*member] = true);
        let mut queue: VecDeque<usize> = reached.iter().copied().collect();
        while let Some(giver) = queue.pop_front() {
            for &topic in self.spec.members[giver].wants.iter() {
                *steps += 1;
                if asked[topic] || self.has[topic][at(&self.takers[topic], giver)].is_empty() {
                    continue;
                }
                asked[topic] = true;
                for &taker in &self.takers[topic] {
                    *steps += 1;
                    if seen[taker] || settled[taker] {
                        continue;
                    }
                    seen[taker] = true;
                    from[taker] = Some(Link { giver, topic, taker });
                    if self.load[taker] + 2 <= level {
                        let mut chain = Vec::new();
                        let mut at = taker;
                        while let Some(link) = from[at] {
                            chain.push(link);
                            at = link.giver;
                        }
                        return Ok(chain);
                    }
                    reached.push(taker);
                    queue.push_back(taker);
                }
            }
        }
        Err(reached)
    }

    /// Hands one partition on at each link, a partition that the taker had before where there is one.
    fn shift(&mut self, chain: &[Link]) {
        for link in chain {
            let takers = &self.takers[link.topic];
            let (giver, taker) = (at(takers, link.giver), at(takers, link.taker));
            let id = self.spec.topics[link.topic].id;
            let before = self.spec.members[link.taker].assigned;
            let pile = &mut self.has[link.topic][giver];
            let pick =
                pile.iter().position(|partition| before.contains(id, *partition)).unwrap_or(pile.len() - 1);
            let partition = pile.remove(pick);
            self.has[link.topic][taker].push(partition);
        }
        let (last, first) =
            (chain.first().expect("a chain has links"), chain.last().expect("a chain has links"));
        self.load[first.giver] -= 1;
        self.load[last.taker] += 1;
    }

    fn into_result(self) -> Vec<Partitions> {
        let mut result = vec![Partitions::new(); self.load.len()];
        for (topic, piles) in self.has.iter().enumerate() {
            for (taker, pile) in self.takers[topic].iter().zip(piles) {
                for &partition in pile {
                    result[*taker].insert(self.spec.topics[topic].id, partition);
                }
            }
        }
        result
    }
}

/// One step of a chain: `giver` hands a partition of `topic` to `taker`.
#[derive(Clone, Copy)]
struct Link {
    giver: usize,
    topic: usize,
    taker: usize,
}

fn at(takers: &[usize], member: usize) -> usize {
    takers.binary_search(&member).expect("only members that want a topic have of it")
}
