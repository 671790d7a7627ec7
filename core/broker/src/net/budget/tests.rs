use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A charge that somebody tries to grow.
struct Grower {
    charge: Charge,
    bell: Arc<Bell>,
}

impl Grower {
    fn new(budget: &Budget, share: Share) -> Grower {
        Grower { charge: budget.empty(share), bell: Arc::default() }
    }

    fn grow(&mut self, by: usize) -> bool {
        let waker = self.bell.clone().into();
        self.charge.poll_grow(&mut Context::from_waker(&waker), by).is_ready()
    }

    fn rings(&self) -> usize {
        self.bell.0.load(Ordering::SeqCst)
    }
}

const MIB: usize = 1 << 20;

/// 16 MiB: 10 MiB ordinary, 2 MiB for small frames, 4 MiB for one large frame.
fn budget() -> Budget {
    let budget = Budget::new(16 * MIB, 4 * MIB - FRAME_SLACK);
    assert_eq!(budget.largest_frame(), 4 * MIB - FRAME_SLACK);
    assert_eq!(
        budget.shared.limits,
        Limits { total: 16 * MIB, small_reserve: 2 * MIB, frame_reserve: 4 * MIB }
    );
    budget
}

fn used(budget: &Budget) -> usize {
    budget.usage().used
}

#[test]
fn what_is_charged_comes_back() {
    let budget = budget();
    let mut frame = Grower::new(&budget, Share::LargeFrame);
    assert!(frame.grow(MIB) && frame.grow(MIB));
    let response = budget.charge(20 * MIB);
    assert_eq!(used(&budget), 22 * MIB);
    frame.charge.shrink_to(MIB);
    assert_eq!(used(&budget), 21 * MIB);
    drop((frame, response));
    assert_eq!(used(&budget), 0);
}

#[test]
fn a_fall_is_told_once_and_when_it_has_lasted() {
    let budget = budget();
    let first = budget.charge(30);
    assert!(!budget.has_fallen(20));
    drop(first);
    assert!(!budget.has_fallen(20), "it was still there after the last look");
    let second = budget.charge(11);
    assert!(!budget.has_fallen(20), "19 below the peak");
    drop(second);
    assert!(!budget.has_fallen(20), "11 since the last look");
    assert!(budget.has_fallen(20));
    assert!(!budget.has_fallen(20), "it has been told");
    drop(budget.charge(20));
    assert!(!budget.has_fallen(20));
    assert!(budget.has_fallen(20), "again");
}

#[test]
fn small_frames_pass_while_large_ones_fill_the_rest() {
    let budget = budget();
    let _bulk = budget.try_reserve(10 * MIB).unwrap();
    assert!(budget.try_reserve(1).is_none());
    let mut small = Grower::new(&budget, Share::SmallFrame);
    assert!(small.grow(2 * MIB));
    let mut one_more = Grower::new(&budget, Share::SmallFrame);
    assert!(!one_more.grow(1));
    drop(small);
    assert_eq!(one_more.rings(), 1);
    assert!(one_more.grow(1));
}

#[test]
fn one_large_frame_at_a_time_goes_on_beyond_the_ordinary_share() {
    let budget = budget();
    let _bulk = budget.try_reserve(10 * MIB).unwrap();
    let mut frames: Vec<Grower> = (0..3).map(|_| Grower::new(&budget, Share::LargeFrame)).collect();
    assert!(frames[0].grow(2 * MIB), "the first takes the ticket");
    assert!(!frames[1].grow(MIB));
    assert!(!frames[2].grow(MIB));
    assert!(frames[0].grow(2 * MIB), "and goes on to its end");
    assert_eq!(used(&budget), 14 * MIB);
    let mut small = Grower::new(&budget, Share::SmallFrame);
    assert!(small.grow(2 * MIB), "the small frames' slice is not the ticket holder's");
    assert_eq!(used(&budget), 16 * MIB);
    drop(frames.remove(0));
    assert_eq!([frames[0].rings(), frames[1].rings()], [1, 0], "the ticket passes to the next in line");
    assert!(frames[0].grow(MIB));
    assert!(!frames[1].grow(MIB));
}

#[test]
fn room_is_given_in_order_of_arrival_and_wakes_only_who_got_it() {
    let budget = budget();
    let bulk = budget.try_reserve(8 * MIB).unwrap();
    let mut ticket = Grower::new(&budget, Share::LargeFrame);
    assert!(ticket.grow(2 * MIB), "ordinary room, no ticket yet");
    assert!(ticket.grow(MIB), "the ticket");
    let mut first = Grower::new(&budget, Share::LargeFrame);
    let mut second = Grower::new(&budget, Share::Response);
    let mut third = Grower::new(&budget, Share::LargeFrame);
    assert!(!first.grow(6 * MIB) && !second.grow(2 * MIB) && !third.grow(MIB));
    assert_eq!(budget.usage().waiting, 3);
    assert!(budget.try_reserve(1).is_none());
    drop(bulk);
    assert_eq!([first.rings(), second.rings(), third.rings()], [1, 1, 0]);
    let mut late = Grower::new(&budget, Share::LargeFrame);
    assert!(!late.grow(1), "nobody overtakes");
    assert!(first.grow(6 * MIB) && second.grow(2 * MIB) && !third.grow(MIB));
    drop(second);
    assert_eq!([third.rings(), late.rings()], [1, 1]);
}

#[test]
fn whoever_gives_up_waiting_leaves_nothing_behind() {
    let budget = budget();
    let bulk = budget.try_reserve(10 * MIB).unwrap();
    let mut ticket = Grower::new(&budget, Share::LargeFrame);
    assert!(ticket.grow(MIB));
    let mut in_line = Grower::new(&budget, Share::LargeFrame);
    let mut granted = Grower::new(&budget, Share::LargeFrame);
    let mut last = Grower::new(&budget, Share::LargeFrame);
    assert!(!in_line.grow(MIB) && !granted.grow(10 * MIB) && !last.grow(MIB));
    drop(in_line);
    drop(bulk);
    assert_eq!([granted.rings(), last.rings()], [1, 0]);
    drop(granted);
    assert_eq!(last.rings(), 1, "what was granted and not seen goes to the next");
    drop((ticket, last));
    assert_eq!(budget.usage(), Usage { total: 16 * MIB, used: 0, waiting: 0 });
}

#[test]
fn a_ticket_granted_and_not_seen_goes_to_the_next() {
    let budget = budget();
    let _bulk = budget.try_reserve(10 * MIB).unwrap();
    let mut frames: Vec<Grower> = (0..3).map(|_| Grower::new(&budget, Share::LargeFrame)).collect();
    for frame in &mut frames {
        frame.grow(MIB);
    }
    drop(frames.remove(0));
    drop(frames.remove(0));
    assert_eq!(frames[0].rings(), 1);
    assert!(frames[0].grow(MIB));
    drop(frames);
    assert_eq!(used(&budget), 10 * MIB);
    assert!(!budget.shared.state.lock().ticket_held);
}

#[test]
fn a_response_that_waits_does_not_hold_up_the_ticket() {
    let budget = budget();
    let _bulk = budget.try_reserve(10 * MIB).unwrap();
    let mut response = Grower::new(&budget, Share::Response);
    assert!(!response.grow(MIB));
    let mut frame = Grower::new(&budget, Share::LargeFrame);
    assert!(frame.grow(MIB));
    let mut next = Grower::new(&budget, Share::LargeFrame);
    assert!(!next.grow(MIB));
    drop(frame);
    assert_eq!([response.rings(), next.rings()], [0, 1]);
}

/// Whatever frames come and go, the line moves on and the total holds: a model of random transfers, each of which
/// ends once it has all its bytes, or at a timeout.
#[test]
fn random_transfers_all_end_within_the_total() {
    let mut state = 1u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let budget = budget();
    let mut transfers: Vec<(Grower, usize)> = vec![];
    let mut finished = 0;
    let mut steps = 0;
    while finished < 2_000 {
        steps += 1;
        assert!(steps < 1_000_000, "stuck: {budget:?}");
        if transfers.len() < 40 {
            let (share, len) = match random(3) {
                0 => (Share::SmallFrame, 1 + random(64 * 1024)),
                1 => (Share::Response, 1 + random(MIB)),
                _ => (Share::LargeFrame, 64 * 1024 + random(4 * MIB - FRAME_SLACK - 64 * 1024)),
            };
            transfers.push((Grower::new(&budget, share), len));
        }
        let at = random(transfers.len());
        let (transfer, len) = &mut transfers[at];
        // A frame doubles; a response asks once.
        let have = transfer.charge.bytes();
        let by = if transfer.charge.share == Share::Response { *len } else { have.max(512).min(*len - have) };
        if by > 0 && have < *len {
            transfer.grow(by);
        }
        assert!(used(&budget) <= 16 * MIB);
        let done = transfer.charge.bytes() == *len;
        // Responses have deadlines and give up at times; half-read frames only ever complete here.
        let gives_up = transfer.charge.share == Share::Response && random(50) == 0;
        if done || gives_up {
            transfers.swap_remove(at);
            finished += usize::from(done);
        }
    }
    drop(transfers);
    assert_eq!(budget.usage(), Usage { total: 16 * MIB, used: 0, waiting: 0 });
}

#[test]
fn large_frames_that_wait_for_their_work_go_on_one_by_one() {
    let budget = budget();
    let mut frames: Vec<Grower> = (0..3).map(|_| Grower::new(&budget, Share::LargeFrame)).collect();
    assert!(
        frames[0].grow(4 * MIB) && frames[1].grow(4 * MIB) && frames[2].grow(2 * MIB),
        "the share is full"
    );
    let mut work: Vec<Grower> = (0..3).map(|_| Grower::new(&budget, Share::LargeWork)).collect();
    assert!(work[0].grow(6 * MIB), "nobody works");
    assert!(!work[1].grow(6 * MIB) && !work[2].grow(MIB));
    let mut small = Grower::new(&budget, Share::SmallWork);
    assert!(small.grow(MIB), "small requests have a line of their own");
    let response = work.remove(0).charge.into_response();
    assert_eq!([work[0].rings(), work[1].rings()], [1, 0]);
    assert!(work[0].grow(6 * MIB) && !work[1].grow(MIB));
    drop(work.remove(0));
    assert!(work[0].grow(MIB));
    drop((work, response, frames, small));
    assert_eq!(budget.usage(), Usage { total: 16 * MIB, used: 0, waiting: 0 });
    let state = budget.shared.state.lock();
    assert_eq!((state.small_working, state.large_working, state.responses), (0, 0, 0));
}

#[test]
fn work_that_fits_goes_on_beside_other_work_and_in_order() {
    let budget = budget();
    let mut work: Vec<Grower> = (0..4).map(|_| Grower::new(&budget, Share::LargeWork)).collect();
    assert!(work[0].grow(6 * MIB) && work[1].grow(4 * MIB));
    assert!(!work[2].grow(5 * MIB));
    assert!(!work[3].grow(1), "nobody overtakes");
    let mut frame = Grower::new(&budget, Share::LargeFrame);
    assert!(frame.grow(MIB), "frames do not stand behind work");
    drop(work.remove(1));
    assert_eq!([work[1].rings(), work[2].rings()], [0, 0]);
    drop(work.remove(0));
    assert!(work[0].grow(5 * MIB) && work[1].grow(1));
}

#[test]
fn no_work_is_begun_while_responses_alone_fill_the_share() {
    let budget = budget();
    let responses = budget.charge(15 * MIB);
    assert!(budget.is_exceeded(Share::SmallWork) && budget.is_exceeded(Share::LargeWork));
    let mut nothing = Grower::new(&budget, Share::SmallWork);
    let mut large = Grower::new(&budget, Share::LargeWork);
    assert!(!nothing.grow(0) && !large.grow(MIB));
    drop(responses);
    assert!(nothing.grow(0) && large.grow(MIB));
    assert!(!budget.is_exceeded(Share::SmallWork));
}

#[test]
fn what_is_parked_takes_its_part_and_no_more() {
    let budget = budget();
    let much: Vec<Charge> = (0..8).map(|_| budget.park(MIB / 8).unwrap()).collect();
    assert!(budget.park(MIB / 8).is_none(), "half of it is left to those that keep little");
    let little: Vec<Charge> = std::iter::from_fn(|| budget.park(8 << 10)).collect();
    assert_eq!(little.len(), MIB / (8 << 10));
    drop(much);
    assert!(budget.park(MIB / 8).is_none());
    drop(little);
    assert!(budget.park(MIB / 8).is_some());
    assert_eq!(used(&budget), 0);
}

#[test]
fn whoever_gives_up_waiting_for_work_leaves_nothing_behind() {
    let budget = budget();
    let mut first = Grower::new(&budget, Share::SmallWork);
    assert!(first.grow(20 * MIB));
    let mut granted = Grower::new(&budget, Share::SmallWork);
    let mut last = Grower::new(&budget, Share::SmallWork);
    assert!(!granted.grow(20 * MIB) && !last.grow(20 * MIB));
    drop(first);
    assert_eq!([granted.rings(), last.rings()], [1, 0]);
    drop(granted);
    assert_eq!(last.rings(), 1, "what was granted and not seen goes to the next");
    drop(last);
    assert_eq!(budget.usage(), Usage { total: 16 * MIB, used: 0, waiting: 0 });
    assert_eq!(budget.shared.state.lock().small_working, 0);
}
