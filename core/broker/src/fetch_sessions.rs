//! Incremental fetch sessions (KIP-227): what a consumer asked for last time, so that it need not repeat it.
//!
//! Owns the cache and its rules; reads no log. The rules that broke others (facts: sarama opens a session with each
//! fetch): a session younger than two minutes is never evicted for a new one; when no place is free the fetch is served
//! without a session, id 0.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use buslane_wire::ids::TopicId;
use parking_lot::Mutex;

/// Sessions kept at most (Kafka: `max.incremental.fetch.session.cache.slots`).
pub const SLOTS: usize = 1_000;

/// Partitions over all sessions at most: bounds the memory of the cache to some tens of MiB.
const PARTITIONS_MAX: usize = 200_000;

/// A session is evicted for a new one only after this long without use, in milliseconds (KIP-227).
const EVICTABLE_AFTER_MS: i64 = 120_000;

/// Epoch of a request that starts a session, or closes one and starts another.
const INITIAL_EPOCH: i32 = 0;
/// Epoch of a request without a session, or the last one of a session.
const FINAL_EPOCH: i32 = -1;

/// How a fetch names a topic: by name up to version 12, by id from 13 on. A session keeps to one way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TopicKey {
    /// Up to version 12.
    Name(Arc<str>),
    /// From version 13 on (KIP-516).
    Id(TopicId),
}

/// One partition as a fetch asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The topic.
    pub topic: TopicKey,
    /// The partition.
    pub partition: i32,
    /// First offset wanted.
    pub fetch_offset: i64,
    /// Most bytes wanted of it.
    pub max_bytes: i32,
    /// The leader epoch the client believes in, -1 when it does not say.
    pub current_leader_epoch: i32,
    /// The epoch of the last record it has, -1 when it does not say (KIP-595).
    pub last_fetched_epoch: i32,
}

/// What was told last of a partition; only changes are told again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// High watermark.
    pub high_watermark: i64,
    /// Log start offset.
    pub log_start_offset: i64,
}

/// What an answer has of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tell {
    /// Its offsets.
    pub now: Told,
    /// It has records, so that others come first next time.
    pub records: bool,
    /// It has an error or a divergence.
    pub urgent: bool,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    told: Option<Told>,
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next request must carry.
    next_epoch: i32,
    by_id: bool,
    used_ms: i64,
    /// By their places: in the order in which they are served.
    entries: BTreeMap<u64, Entry>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
}

impl Session {
    fn set(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        let place = *self.places.entry(key).or_insert(self.next_place);
        match self.entries.get_mut(&place) {
            Some(entry) => entry.wanted = wanted,
            None => {
                self.entries.insert(place, Entry { wanted, told: None });
                self.next_place += 1;
            }
        }
    }

    fn forget(&mut self, topic: &TopicKey, partition: i32) {
        if let Some(place) = self.places.remove(&(topic.clone(), partition)) {
            self.entries.remove(&place);
        }
    }

    /// Remembers what is told of a partition; true when it belongs into an incremental answer.
    fn tell(&mut self, wanted: &Wanted, tell: &Tell) -> bool {
        let Some(place) = self.places.get_mut(&(wanted.topic.clone(), wanted.partition)) else { return true };
        let mut entry = self.entries.remove(place).expect("each place has its entry");
        let changed = tell.records || tell.urgent || entry.told != Some(tell.now);
        entry.told = Some(tell.now);
        if tell.records {
            *place = self.next_place;
            self.next_place += 1;
        }
        self.entries.insert(*place, entry);
        changed
    }
}

/// Why a session request is refused. The client starts a new session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionError {
    /// FETCH_SESSION_ID_NOT_FOUND: evicted, or the broker restarted.
    #[error("no fetch session {0}")]
    NotFound(i32),
    /// INVALID_FETCH_SESSION_EPOCH: a request was lost or repeated.
    #[error("fetch session {id} expects epoch {expected}, got {got}")]
    Epoch {
        /// The session.
        id: i32,
        /// The epoch of the next request.
        expected: i32,
        /// What came.
        got: i32,
    },
    /// FETCH_SESSION_TOPIC_ID_ERROR: names and ids in one session.
    #[error("fetch session {0} names its topics the other way (by name or by id)")]
    TopicIds(i32),
}

/// How a fetch is to be served.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// The session in the answer; 0: none.
    pub session_id: i32,
    /// The partitions to read, in order.
    pub wanted: Vec<Wanted>,
    /// Only what changed goes into the answer.
    pub incremental: bool,
}

#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<i32, Session>,
    partitions: usize,
}

/// The cache of one broker.
#[derive(Debug, Default)]
pub struct FetchSessions {
    cache: Mutex<Cache>,
}

impl FetchSessions {
    /// Sessions and partitions held.
    #[cfg(test)]
    fn size(&self) -> (usize, usize) {
        let cache = self.cache.lock();
        (cache.sessions.len(), cache.partitions)
    }

    /// Takes a request's session fields, partitions and forgotten partitions (see the table in KIP-227).
    pub fn begin(
        &self,
        now_ms: i64,
        session_id: i32,
        epoch: i32,
        by_id: bool,
        wanted: Vec<Wanted>,
        forgotten: &[(TopicKey, i32)],
    ) -> Result<Plan, SessionError> {
        let mut cache = self.cache.lock();
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            cache.close(session_id);
            let session_id = if epoch == INITIAL_EPOCH { cache.open(now_ms, by_id, &wanted) } else { 0 };
            return Ok(Plan { session_id, wanted, incremental: false });
        }
        let added = wanted.len();
        let Some(session) = cache.sessions.get_mut(&session_id) else {
            return Err(SessionError::NotFound(session_id));
        };
        if epoch != session.next_epoch {
            return Err(SessionError::Epoch { id: session_id, expected: session.next_epoch, got: epoch });
        }
        // Also when the request names none: the answer does.
        if session.by_id != by_id {
            return Err(SessionError::TopicIds(session_id));
        }
        session.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.used_ms = now_ms;
        let before = session.entries.len();
        for partition in wanted {
            session.set(partition);
        }
        for (topic, partition) in forgotten {
            session.forget(topic, *partition);
        }
        let after = session.entries.len();
        let plan = Plan {
            session_id,
            wanted: session.entries.values().map(|e| e.wanted.clone()).collect(),
            incremental: true,
        };
        cache.partitions = cache.partitions + after - before;
        if cache.partitions > PARTITIONS_MAX && added > 0 {
            // Served once more, and then the client has to start over without a session.
            cache.close(session_id);
        }
        Ok(plan)
    }

    /// Remembers what an answer tells of each partition of its plan, and which of them belong into an incremental one:
    /// those with records or an error, and those of which something else is told than last time. Partitions that gave
    /// records go behind all others, so that those come first next time. Nothing without a session.
    pub fn tell(&self, plan: &Plan, of: impl Fn(usize) -> Tell) -> Vec<bool> {
        if plan.session_id == 0 {
            return Vec::new();
        }
        let mut cache = self.cache.lock();
        let Some(session) = cache.sessions.get_mut(&plan.session_id) else {
            return vec![true; plan.wanted.len()];
        };
        plan.wanted.iter().enumerate().map(|(i, wanted)| session.tell(wanted, &of(i))).collect()
    }

    /// An answer tells nothing of any partition. Returns the session in it: a client cannot take up a new one from such an
    /// answer (Kafka's consumer starts over), which then is none.
    pub fn tell_nothing(&self, plan: &Plan) -> i32 {
        if plan.incremental {
            return plan.session_id;
        }
        self.cache.lock().close(plan.session_id);
        0
    }
}

impl Cache {
    fn close(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.entries.len();
        }
    }

    /// A new session, or 0 when there is no room for it.
    fn open(&mut self, now_ms: i64, by_id: bool, wanted: &[Wanted]) -> i32 {
        if wanted.is_empty() {
            return 0;
        }
        if self.sessions.len() >= SLOTS || self.partitions + wanted.len() > PARTITIONS_MAX {
            let oldest =
                self.sessions.iter().min_by_key(|(id, s)| (s.used_ms, **id)).map(|(id, s)| (*id, s.used_ms));
            match oldest {
                Some((id, used_ms)) if now_ms - used_ms >= EVICTABLE_AFTER_MS => self.close(id),
                _ => return 0,
            }
            if self.partitions + wanted.len() > PARTITIONS_MAX {
                return 0;
            }
        }
        let id = self.free_id();
        let mut session = Session {
            next_epoch: 1,
            by_id,
            used_ms: now_ms,
            entries: BTreeMap::new(),
            places: HashMap::with_capacity(wanted.len()),
            next_place: 0,
        };
        for partition in wanted {
            session.set(partition.clone());
        }
        self.partitions += session.entries.len();
        self.sessions.insert(id, session);
        id
    }

    /// Random, as in Kafka: after a restart a client that still has an old id finds no session of another client's.
    fn free_id(&self) -> i32 {
        loop {
            let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
            let id = i32::from_be_bytes([a, b, c, d]) & i32::MAX;
            if id != 0 && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(topic: &str, partition: i32, fetch_offset: i64) -> Wanted {
        Wanted {
            topic: TopicKey::Name(topic.into()),
            partition,
            fetch_offset,
            max_bytes: 1_000,
            current_leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn begin(s: &FetchSessions, id: i32, epoch: i32, w: Vec<Wanted>) -> Result<Plan, SessionError> {
        s.begin(0, id, epoch, false, w, &[])
    }

    #[test]
    fn a_fetch_without_a_session_leaves_none_behind() {
        let s = FetchSessions::default();
        let plan = begin(&s, 0, -1, vec![wanted("a", 0, 5)]).unwrap();
        assert_eq!((plan.session_id, plan.incremental, plan.wanted.len()), (0, false, 1));
        assert_eq!(s.size(), (0, 0));
    }

    #[test]
    fn an_incremental_fetch_adds_changes_and_forgets() {
        let s = FetchSessions::default();
        let id = begin(&s, 0, 0, vec![wanted("a", 0, 5), wanted("a", 1, 5)]).unwrap().session_id;
        assert_ne!(id, 0);
        let plan = s
            .begin(
                0,
                id,
                1,
                false,
                vec![wanted("a", 0, 9), wanted("b", 0, 1)],
                &[(TopicKey::Name("a".into()), 1)],
            )
            .unwrap();
        assert!(plan.incremental);
        assert_eq!(plan.wanted, [wanted("a", 0, 9), wanted("b", 0, 1)]);
        assert_eq!(begin(&s, id, 2, vec![]).unwrap().wanted.len(), 2);
        assert_eq!(s.size(), (1, 2));
    }

    #[test]
    fn lost_repeated_and_foreign_requests_are_refused() {
        let s = FetchSessions::default();
        assert_eq!(begin(&s, 77, 1, vec![]), Err(SessionError::NotFound(77)));
        let id = begin(&s, 0, 0, vec![wanted("a", 0, 5)]).unwrap().session_id;
        assert_eq!(begin(&s, id, 2, vec![]), Err(SessionError::Epoch { id, expected: 1, got: 2 }));
        let ids = Wanted { topic: TopicKey::Id(TopicId([1; 16])), ..wanted("a", 0, 5) };
        assert_eq!(s.begin(0, id, 1, true, vec![ids], &[]), Err(SessionError::TopicIds(id)));
        begin(&s, id, -1, vec![]).unwrap();
        assert_eq!(begin(&s, id, 1, vec![]), Err(SessionError::NotFound(id)), "closed by its last request");
    }

    const TOLD: Told = Told { high_watermark: 5, log_start_offset: 0 };

    fn quiet(now: Told) -> Tell {
        Tell { now, records: false, urgent: false }
    }

    #[test]
    fn only_changes_are_told_again() {
        let s = FetchSessions::default();
        let plan = begin(&s, 0, 0, vec![wanted("a", 0, 5), wanted("a", 1, 5)]).unwrap();
        assert_eq!(s.tell(&plan, |_| quiet(TOLD)), [true, true]);
        assert_eq!(s.tell(&plan, |_| quiet(TOLD)), [false, false]);
        let moved = Told { high_watermark: 6, ..TOLD };
        assert_eq!(s.tell(&plan, |i| quiet(if i == 1 { moved } else { TOLD })), [false, true]);
        assert_eq!(s.tell(&plan, |i| Tell { urgent: i == 1, ..quiet(TOLD) }), [false, true]);
        assert_eq!(s.tell(&plan, |i| Tell { records: i == 1, ..quiet(TOLD) }), [false, true]);
        begin(&s, plan.session_id, -1, vec![]).unwrap();
        assert_eq!(s.tell(&plan, |_| quiet(TOLD)), [true, true], "closed meanwhile");
        let without = Plan { session_id: 0, ..plan };
        assert_eq!(s.tell(&without, |_| quiet(TOLD)), [false; 0]);
    }

    #[test]
    fn a_session_keeps_to_names_or_ids_also_when_a_request_names_nothing() {
        let s = FetchSessions::default();
        let id = begin(&s, 0, 0, vec![wanted("a", 0, 5)]).unwrap().session_id;
        assert_eq!(s.begin(0, id, 1, true, vec![], &[]), Err(SessionError::TopicIds(id)));
        assert!(begin(&s, id, 1, vec![]).is_ok());
    }

    #[test]
    fn ids_are_not_guessed_from_others() {
        let ids = || -> Vec<i32> {
            let s = FetchSessions::default();
            (0..3).map(|_| begin(&s, 0, 0, vec![wanted("a", 0, 5)]).unwrap().session_id).collect()
        };
        let (one, other) = (ids(), ids());
        assert!(one.iter().chain(&other).all(|id| *id > 0));
        assert!(one.iter().all(|id| !other.contains(id)), "another run has others: {one:?} {other:?}");
    }

    #[test]
    fn a_flood_of_new_sessions_neither_grows_the_cache_nor_evicts_young_ones() {
        let s = FetchSessions::default();
        let first = begin(&s, 0, 0, vec![wanted("a", 0, 5)]).unwrap().session_id;
        for _ in 1..SLOTS {
            assert_ne!(begin(&s, 0, 0, vec![wanted("a", 0, 5)]).unwrap().session_id, 0);
        }
        assert_eq!(begin(&s, 0, 0, vec![wanted("a", 0, 5)]).unwrap().session_id, 0);
        assert!(begin(&s, first, 1, vec![]).is_ok());
        let late = s.begin(EVICTABLE_AFTER_MS, 0, 0, false, vec![wanted("a", 0, 5)], &[]).unwrap();
        assert_ne!(late.session_id, 0);
        assert_eq!(s.size(), (SLOTS, SLOTS));
    }

    #[test]
    fn partitions_that_gave_records_go_behind_the_others_and_none_is_lost() {
        let s = FetchSessions::default();
        let id = begin(&s, 0, 0, (0..5).map(|p| wanted("a", p, 0)).collect()).unwrap().session_id;
        let order = |plan: &Plan| plan.wanted.iter().map(|w| w.partition).collect::<Vec<_>>();
        let full = |plan: &Plan, which: &[i32]| {
            let records = |i: usize| which.contains(&plan.wanted[i].partition);
            s.tell(plan, |i| Tell { records: records(i), ..quiet(TOLD) });
        };
        let plan = begin(&s, id, 1, vec![]).unwrap();
        full(&plan, &[1, 3]);
        let plan = begin(&s, id, 2, vec![]).unwrap();
        assert_eq!(order(&plan), [0, 2, 4, 1, 3]);
        // A full one behind idle ones goes to the end, not they.
        full(&plan, &[4]);
        let plan = begin(&s, id, 3, vec![]).unwrap();
        assert_eq!(order(&plan), [0, 2, 1, 3, 4]);
        full(&plan, &[]);
        let forgotten = [(TopicKey::Name("a".into()), 2)];
        let plan = s.begin(0, id, 4, false, vec![wanted("a", 0, 9), wanted("a", 7, 1)], &forgotten).unwrap();
        let got: Vec<(i32, i64)> = plan.wanted.iter().map(|w| (w.partition, w.fetch_offset)).collect();
        assert_eq!(got, [(0, 9), (1, 0), (3, 0), (4, 0), (7, 1)]);
        assert_eq!(s.size(), (1, 5));
    }
}
