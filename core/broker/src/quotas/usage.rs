//! What one request uses, and what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use buslane_meta::QuotaKey;
use parking_lot::Mutex;

use super::meters::MeterId;
use super::rate::{WINDOW_MS, WINDOWS};
use super::rules::Rules;
use super::{Quotas, USER};

/// What one request uses. While nobody has a quota it knows nothing and does nothing.
pub struct Usage<'n> {
    /// Boxed, so that requests that wait by the thousand are no larger for it.
    measured: Option<Box<Measured<'n>>>,
}

struct Measured<'n> {
    quotas: &'n Quotas,
    rules: Arc<Rules>,
    /// Whether anybody's time is limited: else no clock is read.
    timed: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The client's limits by kind.
    limits: [Option<(MeterId, f64)>; QuotaKey::ALL.len()],
    /// Time spent on it in steps that ended, and when the current one began.
    spent: Duration,
    step_began: Option<Instant>,
    /// Of that, what was charged.
    charged: Duration,
    /// Until when no partition may be created or deleted, in milliseconds of the broker's clock.
    mutations_end_ms: i64,
    /// Its time is not charged.
    free: bool,
    /// The response has its throttle time.
    settled: bool,
    mute: Duration,
}

impl State {
    fn limit(&self, key: QuotaKey) -> Option<(MeterId, f64)> {
        self.limits[key as usize]
    }
}

impl<'n> Usage<'n> {
    pub(super) fn unlimited() -> Usage<'n> {
        Usage { measured: None }
    }

    pub(super) fn measured(quotas: &'n Quotas, rules: Arc<Rules>) -> Usage<'n> {
        let timed = rules.have(QuotaKey::RequestPercentage);
        Usage { measured: Some(Box::new(Measured { quotas, rules, timed, state: Mutex::default() })) }
    }

    /// Whose request it is.
    pub fn identify(&self, client_id: Option<&str>) {
        let Some(measured) = &self.measured else { return };
        let client_id = client_id.unwrap_or_default();
        let limit = |key| {
            let limit = measured.rules.limit(key, USER, client_id)?;
            Some((measured.quotas.meter_id(key, limit, client_id), limit.rate))
        };
        measured.state.lock().limits = QuotaKey::ALL.map(limit);
    }

    /// Does one step of serving the request.
    pub fn step<T>(&self, step: impl FnOnce() -> T) -> T {
        match &self.measured {
            Some(measured) if measured.timed => {
                let began = Instant::now();
                measured.state.lock().step_began = Some(began);
                let done = step();
                let mut state = measured.state.lock();
                state.step_began = None;
                state.spent += began.elapsed();
                done
            }
            _ => step(),
        }
    }

    /// A Produce request of so many bytes is about to be answered, unless it is one that is not (acks=0: its time is
    /// free, as in Kafka). Returns the throttle time in milliseconds.
    pub fn produced(&self, bytes: usize, answered: bool) -> i32 {
        let Some(measured) = &self.measured else { return 0 };
        let mut state = measured.state.lock();
        let by_bytes = measured.rate(&state, QuotaKey::ProducerByteRate, |rate, limit, now_ms| {
            rate.charge(bytes as f64, limit, now_ms)
        });
        state.free = !answered;
        let by_time = measured.charge_time(&mut state);
        measured.settle(&mut state, (QuotaKey::ProducerByteRate, by_bytes), by_time)
    }

    /// The most bytes of records that a fetch may answer with and not be above the limit for sure (Kafka's
    /// `maxValueInQuotaWindow`).
    pub fn fetch_bytes_max(&self) -> u64 {
        let limit = self.measured.as_ref().and_then(|m| m.state.lock().limit(QuotaKey::ConsumerByteRate));
        match limit {
            // The cast saturates.
            Some((_, limit)) => (limit * ((WINDOWS as i64 - 1) * WINDOW_MS) as f64 / 1_000.0) as u64,
            None => u64::MAX,
        }
    }

    /// A fetch is about to be answered with so many bytes of records. Returns the throttle time in milliseconds, and
    /// whether they are sent: else the answer is empty, and they count for nothing.
    pub fn fetched(&self, bytes: u64) -> (i32, bool) {
        let Some(measured) = &self.measured else { return (0, true) };
        let mut state = measured.state.lock();
        let by_time = measured.charge_time(&mut state);
        let mut sent = by_time == 0;
        let by_bytes = measured.rate(&state, QuotaKey::ConsumerByteRate, |rate, limit, now_ms| {
            let (wait_ms, taken) = rate.charge_within(bytes as f64, limit, now_ms);
            if taken && !sent {
                rate.take_back(bytes as f64, now_ms);
            }
            sent &= taken;
            wait_ms
        });
        (measured.settle(&mut state, (QuotaKey::ConsumerByteRate, by_bytes), by_time), sent)
    }

    /// For a request that creates or deletes partitions. A strict one gets an error for what is above the limit; an older
    /// one, which does not know that error, is served and held up (KIP-599).
    pub fn mutations(&self, strict: bool) -> Mutations<'_> {
        Mutations { measured: self.measured.as_deref(), strict }
    }

    /// The request is answered, and its time told of if that was not done. Returns the throttle time in milliseconds; 0
    /// where the response has one already.
    pub fn finish(&self) -> i32 {
        let Some(measured) = &self.measured else { return 0 };
        let mut state = measured.state.lock();
        if state.settled {
            measured.charge_time(&mut state);
            return 0;
        }
        let by_time = measured.charge_time(&mut state);
        let by_mutations = (state.mutations_end_ms - measured.quotas.clock.now_ms()).max(0) as u64;
        measured.settle(&mut state, (QuotaKey::ControllerMutationRate, by_mutations), by_time)
    }

    /// For how long the connection is to read nothing more.
    pub fn mute(&self) -> Duration {
        self.measured.as_ref().map_or(Duration::ZERO, |measured| measured.state.lock().mute)
    }
}

impl Measured<'_> {
    fn rate(
        &self,
        state: &State,
        key: QuotaKey,
        charge: impl FnOnce(&mut super::rate::Rate, f64, i64) -> u64,
    ) -> u64 {
        let Some((id, limit)) = state.limit(key) else { return 0 };
        let now_ms = self.quotas.clock.now_ms();
        charge(self.quotas.meters.lock().rate(id, now_ms), limit, now_ms)
    }

    /// Charges the time spent that was not charged yet, in percent of a second; the wait is a window at most (KIP-124).
    fn charge_time(&self, state: &mut State) -> u64 {
        if !self.timed || state.free {
            return 0;
        }
        let spent = state.spent + state.step_began.map_or(Duration::ZERO, |began| began.elapsed());
        let percent = spent.saturating_sub(state.charged).as_secs_f64() * 100.0;
        state.charged = spent;
        let wait_ms = self.rate(state, QuotaKey::RequestPercentage, |rate, limit, now_ms| {
            rate.charge(percent, limit, now_ms)
        });
        wait_ms.min(WINDOW_MS as u64)
    }

    /// The longer wait counts.
    fn settle(&self, state: &mut State, by_kind: (QuotaKey, u64), by_time: u64) -> i32 {
        state.settled = true;
        let (key, wait_ms) =
            if by_kind.1 > by_time { by_kind } else { (QuotaKey::RequestPercentage, by_time) };
        let told_ms = i32::try_from(wait_ms).unwrap_or(i32::MAX);
        if told_ms > 0 {
            state.mute = Duration::from_millis(told_ms as u64);
            self.quotas.metrics.throttled(key, state.mute);
        }
        told_ms
    }
}

/// Partitions that one request creates and deletes.
#[derive(Clone, Copy)]
pub struct Mutations<'u> {
    measured: Option<&'u Measured<'u>>,
    strict: bool,
}

/// No more partitions may be created or deleted now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeded;

impl Mutations<'_> {
    /// Not limited: the broker's own.
    pub fn unlimited() -> Mutations<'static> {
        Mutations { measured: None, strict: false }
    }

    /// So many are to be created or deleted.
    pub fn take(&self, partitions: usize) -> Result<(), Exceeded> {
        let Some(measured) = self.measured else { return Ok(()) };
        let mut state = measured.state.lock();
        let Some((id, limit)) = state.limit(QuotaKey::ControllerMutationRate) else { return Ok(()) };
        let now_ms = measured.quotas.clock.now_ms();
        let mut meters = measured.quotas.meters.lock();
        let bucket = meters.bucket(id, limit, now_ms);
        let (taken, wait_ms) = if self.strict {
            match bucket.take(partitions as f64, limit, now_ms) {
                Ok(()) => return Ok(()),
                Err(wait_ms) => (Err(Exceeded), wait_ms),
            }
        } else {
            (Ok(()), bucket.take_anyway(partitions as f64, limit, now_ms))
        };
        let end_ms = now_ms.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX));
        state.mutations_end_ms = state.mutations_end_ms.max(end_ms);
        taken
    }
}

#[cfg(test)]
mod tests {
    use buslane_meta::{QuotaEntity, QuotaValue};

    use super::*;
    use crate::clock::Clock;

    fn quotas(values: &[(QuotaKey, f64)]) -> Arc<Quotas> {
        let quotas = Quotas::new(Clock::start());
        let entity = QuotaEntity { user: None, client_id: Some(Some("c").into()), ip: None };
        let values = values.iter().map(|(key, value)| (*key, QuotaValue::new(*value).unwrap())).collect();
        quotas.follow(&[(entity, Arc::new(values))].into_iter().collect());
        quotas
    }

    fn of<'n>(quotas: &'n Quotas, client_id: &str) -> Usage<'n> {
        let usage = quotas.begin();
        usage.identify(Some(client_id));
        usage
    }

    #[test]
    fn bytes_above_the_limit_mute_the_client_and_no_other() {
        let quotas = quotas(&[(QuotaKey::ProducerByteRate, 1_000.0)]);
        let first = of(&quotas, "c");
        assert_eq!((first.produced(9_000, true), first.mute()), (0, Duration::ZERO));
        let second = of(&quotas, "c");
        let told = second.produced(9_000, false);
        assert!((7_000..=8_000).contains(&told), "{told}");
        assert_eq!(second.mute(), Duration::from_millis(told as u64));
        assert_eq!(second.finish(), 0, "it is told once");
        assert_eq!(of(&quotas, "d").produced(1_000_000, true), 0);
    }

    #[test]
    fn a_throttled_fetch_counts_nothing() {
        let quotas = quotas(&[(QuotaKey::ConsumerByteRate, 1_000.0)]);
        assert_eq!(of(&quotas, "c").fetch_bytes_max(), 10_000);
        assert_eq!(of(&quotas, "d").fetch_bytes_max(), u64::MAX);
        assert_eq!(of(&quotas, "c").fetched(6_000), (0, true));
        let (told, sent) = of(&quotas, "c").fetched(6_000);
        assert!(told > 0 && !sent, "{told} {sent}");
        assert_eq!(of(&quotas, "c").fetched(3_000), (0, true));
    }

    #[test]
    fn time_is_measured_where_somebodys_is_limited() {
        let quotas = quotas(&[(QuotaKey::RequestPercentage, 1e-9)]);
        let usage = of(&quotas, "c");
        usage.step(|| std::hint::black_box((0..10_000).sum::<u64>()));
        assert_eq!(usage.finish(), 1_000, "a window at most");
        assert_eq!(usage.mute(), Duration::from_secs(1));
        let other = of(&quotas, "d");
        other.step(|| ());
        assert_eq!(other.finish(), 0);
    }

    #[test]
    fn mutations_are_refused_or_held_up() {
        let quotas = quotas(&[(QuotaKey::ControllerMutationRate, 1.0)]);
        let strict = of(&quotas, "c");
        assert_eq!(strict.mutations(true).take(20), Ok(()));
        assert_eq!(strict.mutations(true).take(1), Err(Exceeded));
        let told = strict.finish();
        assert!((8_000..=9_000).contains(&told), "{told}");
        let older = of(&quotas, "c");
        assert_eq!(older.mutations(false).take(1), Ok(()));
        let told = older.finish();
        assert!((9_000..=10_000).contains(&told), "{told}");
    }

    #[test]
    fn without_quotas_nothing_is_kept() {
        let quotas = quotas(&[(QuotaKey::ProducerByteRate, 1.0)]);
        assert!(of(&quotas, "c").produced(1_000, true) > 0);
        quotas.follow(&Default::default());
        assert_eq!(of(&quotas, "c").produced(1_000, true), 0);
        assert_eq!(quotas.meters.lock().len(), 0);
    }
}
