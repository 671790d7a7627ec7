//! Incremental fetch sessions (KIP-227): what a consumer asked for last time, so that it need not repeat it.
//!
//! Owns the cache and its rules; reads no log. The rules that broke others (facts: sarama opens a session with each
//! fetch): a session younger than two minutes is never evicted for a new one; when no place is free the fetch is served
//! without a session, id 0.

use std::collections::HashMap;
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
    entries: Vec<Entry>,
    index: HashMap<(TopicKey, i32), usize>,
}

impl Session {
    fn set(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        match self.index.get(&key) {
            Some(at) => self.entries[*at].wanted = wanted,
            None => {
                self.index.insert(key, self.entries.len());
                self.entries.push(Entry { wanted, told: None });
            }
        }
    }

    fn forget(&mut self, topic: &TopicKey, partition: i32) {
        let Some(at) = self.index.remove(&(topic.clone(), partition)) else { return };
        // Order matters for fairness only, and the order is rotated anyhow.
        self.entries.swap_remove(at);
        if let Some(moved) = self.entries.get(at) {
            self.index.insert((moved.wanted.topic.clone(), moved.wanted.partition), at);
        }
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
    last_id: i32,
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
        if session.by_id != by_id && !(wanted.is_empty() && forgotten.is_empty()) {
            return Err(SessionError::TopicIds(session_id));
        }
        if epoch != session.next_epoch {
            return Err(SessionError::Epoch { id: session_id, expected: session.next_epoch, got: epoch });
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
            wanted: session.entries.iter().map(|e| e.wanted.clone()).collect(),
            incremental: true,
        };
        cache.partitions = cache.partitions + after - before;
        if cache.partitions > PARTITIONS_MAX && added > 0 {
            // Served once more, and then the client has to start over without a session.
            cache.close(session_id);
        }
        Ok(plan)
    }

    /// Whether a partition belongs into an incremental answer: it has records or an error, or what was told of it has
    /// changed. Remembers what is told now.
    pub fn changed(&self, session_id: i32, topic: &TopicKey, partition: i32, now: Told, must: bool) -> bool {
        let mut cache = self.cache.lock();
        let Some(session) = cache.sessions.get_mut(&session_id) else { return true };
        let Some(at) = session.index.get(&(topic.clone(), partition)).copied() else { return true };
        let entry = &mut session.entries[at];
        let changed = must || entry.told != Some(now);
        entry.told = Some(now);
        changed
    }

    /// Moves partitions that gave records to the end of their session, so that the others come first next time.
    pub fn rotate(&self, session_id: i32, served: usize) {
        let mut cache = self.cache.lock();
        let Some(session) = cache.sessions.get_mut(&session_id) else { return };
        let n = session.entries.len();
        if n > 1 && served > 0 {
            session.entries.rotate_left(served % n);
            session.index = session
                .entries
                .iter()
                .enumerate()
                .map(|(at, e)| ((e.wanted.topic.clone(), e.wanted.partition), at))
                .collect();
        }
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
        loop {
            self.last_id = if self.last_id == i32::MAX { 1 } else { self.last_id + 1 };
            if !self.sessions.contains_key(&self.last_id) {
                break;
            }
        }
        let mut session = Session {
            next_epoch: 1,
            by_id,
            used_ms: now_ms,
            entries: Vec::with_capacity(wanted.len()),
            index: HashMap::with_capacity(wanted.len()),
        };
        for partition in wanted {
            session.set(partition.clone());
        }
        self.partitions += session.entries.len();
        self.sessions.insert(self.last_id, session);
        self.last_id
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

    #[test]
    fn only_changes_are_told_again() {
        let s = FetchSessions::default();
        let id = begin(&s, 0, 0, vec![wanted("a", 0, 5)]).unwrap().session_id;
        let topic = TopicKey::Name("a".into());
        let told = Told { high_watermark: 5, log_start_offset: 0 };
        assert!(s.changed(id, &topic, 0, told, false));
        assert!(!s.changed(id, &topic, 0, told, false));
        assert!(s.changed(id, &topic, 0, told, true), "records and errors always");
        assert!(s.changed(id, &topic, 0, Told { high_watermark: 6, ..told }, false));
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
    fn rotation_keeps_every_partition_reachable() {
        let s = FetchSessions::default();
        let id = begin(&s, 0, 0, (0..4).map(|p| wanted("a", p, 0)).collect()).unwrap().session_id;
        s.rotate(id, 1);
        let order: Vec<i32> = begin(&s, id, 1, vec![]).unwrap().wanted.iter().map(|w| w.partition).collect();
        assert_eq!(order, [1, 2, 3, 0]);
        let plan =
            s.begin(0, id, 2, false, vec![wanted("a", 0, 9)], &[(TopicKey::Name("a".into()), 2)]).unwrap();
        let mut got: Vec<(i32, i64)> = plan.wanted.iter().map(|w| (w.partition, w.fetch_offset)).collect();
        got.sort_unstable();
        assert_eq!(got, [(0, 9), (1, 0), (3, 0)]);
    }
}
