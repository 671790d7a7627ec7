//! Who waits to hear where in the cluster an event is.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

/// Where an event is. None: it is there, and the broker did not say where.
pub type Position = Option<(i32, i64)>;

/// Answers that nobody was there to take, kept for those who ask later.
const LATE_MAX: usize = 10_000;

/// The events of one request, consecutive in the spool.
#[derive(Debug)]
struct Follower {
    positions: Vec<Option<Position>>,
    left: usize,
    answer: oneshot::Sender<Vec<Position>>,
}

/// Who waits, by the offset of the first event; and what was not heard.
#[derive(Debug, Default)]
pub struct Followers {
    waiting: BTreeMap<(i64, u64), Follower>,
    next: u64,
    longest: i64,
    late: VecDeque<(i64, Position)>,
}

impl Followers {
    /// Follows `count` events from the one at `first` on.
    pub fn follow(&mut self, first: i64, count: usize) -> oneshot::Receiver<Vec<Position>> {
        let (answer, receiver) = oneshot::channel();
        let follower = Follower { positions: vec![None; count], left: count, answer };
        self.waiting.insert((first, self.next), follower);
        self.next += 1;
        self.longest = self.longest.max(count as i64);
        receiver
    }

    /// True when somebody waits for an event of a range.
    pub fn any_in(&self, from: i64, to: i64) -> bool {
        let first = from.saturating_sub(self.longest);
        let mut range = self.waiting.range((first, 0)..(to, 0));
        range.any(|((first, _), follower)| first + follower.positions.len() as i64 > from)
    }

    /// Events are in the cluster. `events`: offsets in the spool, rising, with their positions.
    pub fn arrived(&mut self, events: &[(i64, Position)]) {
        let (Some((from, _)), Some((to, _))) = (events.first(), events.last()) else { return };
        let begin = from.saturating_sub(self.longest);
        let mut done = Vec::new();
        for (key, follower) in self.waiting.range_mut((begin, 0)..(to + 1, 0)) {
            let (first, end) = (key.0, key.0 + follower.positions.len() as i64);
            let at = events.partition_point(|(offset, _)| *offset < first);
            for (offset, position) in events[at..].iter().take_while(|(offset, _)| *offset < end) {
                let place = &mut follower.positions[(offset - first) as usize];
                follower.left -= usize::from(place.is_none());
                *place = Some(*position);
            }
            if follower.left == 0 {
                done.push(*key);
            }
        }
        for key in done {
            let follower = self.waiting.remove(&key).expect("it was just seen");
            let positions = follower.positions.into_iter().flatten().collect();
            if let Err(positions) = follower.answer.send(positions) {
                for (offset, position) in (key.0..).zip(positions) {
                    if self.late.len() == LATE_MAX {
                        self.late.pop_front();
                    }
                    self.late.push_back((offset, position));
                }
            }
        }
    }

    /// Everything below `to` is in the cluster, wherever it is.
    pub fn all_arrived(&mut self, to: i64) {
        let mut done = Vec::new();
        for (key, follower) in self.waiting.range_mut(..(to, 0)) {
            let below = usize::try_from(to - key.0).unwrap_or(usize::MAX);
            for place in follower.positions.iter_mut().take(below).filter(|place| place.is_none()) {
                *place = Some(None);
                follower.left -= 1;
            }
            if follower.left == 0 {
                done.push(*key);
            }
        }
        for key in done {
            let follower = self.waiting.remove(&key).expect("it was just seen");
            // Nobody there: then they learn from the trim point that it arrived.
            let _ = follower.answer.send(follower.positions.into_iter().flatten().collect());
        }
    }

    /// Where an event is that somebody followed and did not wait for.
    pub fn late(&self, offset: i64) -> Option<Position> {
        self.late.iter().rev().find(|(late, _)| *late == offset).map(|(_, position)| *position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_hears_when_its_last_event_is_there() {
        let mut followers = Followers::default();
        let mut one = followers.follow(10, 1);
        let mut three = followers.follow(11, 3);
        let mut again = followers.follow(12, 1);
        assert!(followers.any_in(13, 20) && followers.any_in(0, 11));
        assert!(!followers.any_in(14, 20) && !followers.any_in(0, 10));
        followers.arrived(&[(9, Some((0, 1))), (11, Some((0, 2))), (13, Some((0, 3)))]);
        assert!(one.try_recv().is_err() && three.try_recv().is_err());
        followers.arrived(&[(10, Some((1, 5))), (12, None)]);
        assert_eq!(one.try_recv().unwrap(), [Some((1, 5))]);
        assert_eq!(three.try_recv().unwrap(), [Some((0, 2)), None, Some((0, 3))]);
        assert_eq!(again.try_recv().unwrap(), [None]);
        assert!(!followers.any_in(0, 100));
    }

    #[test]
    fn who_went_away_finds_it_later_and_who_was_passed_over_hears_of_it() {
        let mut followers = Followers::default();
        drop(followers.follow(5, 2));
        followers.arrived(&[(5, Some((3, 30))), (6, None)]);
        assert_eq!(
            (followers.late(5), followers.late(6), followers.late(7)),
            (Some(Some((3, 30))), Some(None), None)
        );
        let mut two = followers.follow(7, 2);
        followers.all_arrived(8);
        assert!(two.try_recv().is_err());
        followers.arrived(&[(8, Some((1, 1)))]);
        assert_eq!(two.try_recv().unwrap(), [None, Some((1, 1))]);
        let mut rest = followers.follow(9, 2);
        followers.all_arrived(11);
        assert_eq!(rest.try_recv().unwrap(), [None, None]);
    }
}
