//! A channel at work: takes events, gives each its place in the spool, and tells how safe it is.
//!
//! Requests put their events into the *inbox*, encoded as they will lie in the spool; the channel's writer takes the inbox as
//! a whole, so that what arrives together is one batch and one write. Order is that of the inbox.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use buslane_wire::batch::{BatchBuilder, BatchOptions, NewRecord, RecordHeader};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot, watch};

use crate::dedup::{Dedup, IdHash, Seen};
use crate::follow::{Followers, Position};
use crate::settings::ChannelSettings;
use crate::spool::{Chain, ChainError, Ids};

/// Bytes of an inbox: beyond, the disk does not keep up, and requests are told to come again.
const INBOX_BYTES_MAX: usize = 64 << 20;

/// How safe an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// In the spool file: it survives this process, and the machine from about a second later on.
    #[default]
    Memory,
    /// Synced: it survives the machine.
    Disk,
    /// In the topic, acknowledged by all replicas in sync.
    Cluster,
}

impl std::str::FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        match text {
            "memory" => Ok(Level::Memory),
            "disk" => Ok(Level::Disk),
            "cluster" => Ok(Level::Cluster),
            _ => Err(format!("level {text:?} is unknown; there are memory, disk and cluster")),
        }
    }
}

/// An event as a request brings it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewEvent<'a> {
    /// Given by the service, for deduplication; it is one of the headers, too.
    pub id: Option<&'a str>,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What events of one order share.
    pub key: Option<&'a [u8]>,
    /// The body; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// In order.
    pub headers: &'a [RecordHeader<'a>],
}

/// Where an event is in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Its offset there.
    pub offset: i64,
    /// An event with its id was there before: this is that one's place.
    pub duplicate: bool,
}

/// Why events are not taken. Nothing of the request is in the spool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The channel's quota is used up.
    #[error(
        "the spool of channel {channel:?} holds {used_bytes} bytes of its quota of {quota_bytes}: its cluster takes less than \
         comes in, or is away"
    )]
    QuotaFull {
        /// The channel.
        channel: String,
        /// Bytes of its spool.
        used_bytes: u64,
        /// Its bound.
        quota_bytes: u64,
    },
    /// More arrives than the disk takes.
    #[error("channel {channel:?} has {bytes} bytes that wait to be written: the disk does not keep up")]
    Busy {
        /// The channel.
        channel: String,
        /// Bytes that wait.
        bytes: usize,
    },
    /// An event is too large for a batch.
    #[error("event {index} of the request has {bytes} bytes, channel {channel:?} takes {max}")]
    TooLarge {
        /// The channel.
        channel: String,
        /// Its place in the request.
        index: usize,
        /// Bytes of body, key and headers.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The disk failed or is full.
    #[error("the spool of channel {channel:?} cannot be written: {reason}")]
    Disk {
        /// The channel.
        channel: String,
        /// What happened.
        reason: String,
    },
    /// The agent stops, or the channel was taken out of its configuration.
    #[error("channel {channel:?} is being closed")]
    Closed {
        /// The channel.
        channel: String,
    },
}

/// What a request put into the inbox.
#[derive(Debug)]
enum Put {
    /// Events that are new, one after another from this place in the batch on.
    New(u32, u32),
    /// An event whose id was taken before.
    Known(IdHash, Seen),
}

#[derive(Debug)]
struct Pending {
    puts: Vec<Put>,
    follow: bool,
    answer: oneshot::Sender<Result<Taken, Refused>>,
}

/// A request's events in the spool.
#[derive(Debug)]
pub struct Taken {
    /// One for each event, in their order.
    pub events: Vec<Spooled>,
    /// Where in the cluster they are, for those who asked: in as many parts as there are runs of consecutive offsets.
    pub positions: Vec<oneshot::Receiver<Vec<Position>>>,
    /// End of the spool behind them.
    pub end: i64,
}

#[derive(Debug, Default)]
struct Inbox {
    builder: BatchBuilder,
    pending: Vec<Pending>,
    ids: Vec<(IdHash, u32)>,
}

#[derive(Debug)]
struct Door {
    inbox: Inbox,
    dedup: Dedup,
    /// Takes nothing more.
    closed: bool,
    /// And the writer ends when the inbox is empty.
    ended: bool,
}

/// What a channel counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events that were taken.
    pub events: AtomicU64,
    /// Bytes of their bodies, keys and headers.
    pub bytes: AtomicU64,
    /// Events that were there before.
    pub duplicates: AtomicU64,
    /// Requests that were refused.
    pub refused: AtomicU64,
    /// Events in the cluster.
    pub confirmed: AtomicU64,
    /// Produce requests.
    pub requests: AtomicU64,
    /// Batches in them.
    pub batches: AtomicU64,
    /// Bytes of those batches.
    pub sent_bytes: AtomicU64,
    /// Batches that were sent again.
    pub resent: AtomicU64,
    /// Events that were put aside because no broker takes them.
    pub parked: AtomicU64,
    /// Events whose bytes on the disk were damaged.
    pub lost: AtomicU64,
}

/// A channel.
#[derive(Debug)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// In front of the offset in the ids of its events.
    pub id_prefix: String,
    settings: ArcSwap<ChannelSettings>,
    events: Arc<Chain>,
    door: Mutex<Door>,
    filled: Notify,
    /// Somebody waits for a sync.
    wants_sync: Notify,
    /// Exclusive ends of the spool: written, durable, confirmed.
    written: watch::Sender<i64>,
    durable: watch::Sender<i64>,
    confirmed: AtomicI64,
    used_bytes: AtomicU64,
    /// Who waits for the cluster.
    pub followers: Mutex<Followers>,
    /// What it counted.
    pub counters: Counters,
    /// Why nothing goes into the topic at present.
    pub trouble: Mutex<Option<String>>,
}

impl Channel {
    /// A channel with its spool open. [`Channel::write`] and [`Channel::sync`] run beside it.
    pub fn new(
        name: &str,
        id_prefix: String,
        settings: Arc<ChannelSettings>,
        events: Arc<Chain>,
        confirmed: i64,
        dedup: Dedup,
    ) -> Arc<Channel> {
        let end = events.end();
        let used = AtomicU64::new(events.bytes());
        let door = Door { inbox: Inbox::default(), dedup, closed: false, ended: false };
        Arc::new(Channel {
            name: name.to_owned(),
            id_prefix,
            settings: ArcSwap::new(settings),
            events,
            door: Mutex::new(door),
            filled: Notify::new(),
            wants_sync: Notify::new(),
            written: watch::channel(end).0,
            durable: watch::channel(confirmed).0,
            confirmed: AtomicI64::new(confirmed),
            used_bytes: used,
            followers: Mutex::default(),
            counters: Counters::default(),
            trouble: Mutex::default(),
        })
    }

    /// What it is configured to do.
    pub fn settings(&self) -> Arc<ChannelSettings> {
        self.settings.load_full()
    }

    /// Another configuration, for what comes from now on.
    pub fn set_settings(&self, settings: Arc<ChannelSettings>) {
        self.door.lock().dedup.set_window(settings.dedup_window_ms());
        self.settings.store(settings);
    }

    /// Its log in the spool.
    pub fn events(&self) -> &Arc<Chain> {
        &self.events
    }

    /// The end of the spool, as it moves.
    pub fn written(&self) -> watch::Receiver<i64> {
        self.written.subscribe()
    }

    /// Bytes of its spool.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Events that are in the spool and not in the cluster.
    pub fn waiting_events(&self) -> i64 {
        *self.written.borrow() - self.confirmed.load(Ordering::Relaxed)
    }

    /// The id of the event at an offset, where its service gave it none.
    pub fn event_id(&self, offset: i64) -> String {
        format!("{}~{offset}", self.id_prefix)
    }

    /// How safe the event at an offset is by now.
    pub fn level_of(&self, offset: i64) -> Option<Level> {
        if offset < 0 || offset >= *self.written.borrow() {
            None
        } else if offset < self.confirmed.load(Ordering::Acquire) {
            Some(Level::Cluster)
        } else if offset < *self.durable.borrow() {
            Some(Level::Disk)
        } else {
            Some(Level::Memory)
        }
    }

    /// Where in the spool the event is that its service called so, if that is still known.
    pub fn find_shown(&self, id: &str, now_ms: i64) -> Option<i64> {
        match self.door.lock().dedup.find(IdHash::of(&format!("\n{id}")), now_ms)? {
            Seen::At(offset) => Some(offset),
            Seen::Pending => None,
        }
    }

    /// Takes the events of a request, all or none, in their order. `follow`: whoever asks wants to hear where in the cluster
    /// they are.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn take(&self, events: &[NewEvent<'_>], follow: bool, now_ms: i64) -> Result<Taken, Refused> {
        let (answer, taken) = oneshot::channel();
        let result = self.put(events, follow, now_ms, answer);
        if let Err(refused) = result {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(refused);
        }
        match taken.await {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(refused)) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Err(refused)
            }
            Err(_) => Err(Refused::Closed { channel: self.name.clone() }),
        }
    }

    fn put(
        &self,
        events: &[NewEvent<'_>],
        follow: bool,
        now_ms: i64,
        answer: oneshot::Sender<Result<Taken, Refused>>,
    ) -> Result<(), Refused> {
        let settings = self.settings.load();
        let channel = || self.name.clone();
        let mut bytes = 0;
        for (index, event) in events.iter().enumerate() {
            let size = size_of(event);
            if size > settings.event_bytes_max {
                let max = settings.event_bytes_max;
                return Err(Refused::TooLarge { channel: channel(), index, bytes: size, max });
            }
            bytes += size;
        }
        let used_bytes = self.used_bytes();
        let mut door = self.door.lock();
        let door = &mut *door;
        if door.closed {
            return Err(Refused::Closed { channel: channel() });
        }
        let waiting = door.inbox.builder.records_len();
        if used_bytes + (waiting + bytes) as u64 > settings.spool_bytes_max {
            let quota_bytes = settings.spool_bytes_max;
            return Err(Refused::QuotaFull { channel: channel(), used_bytes, quota_bytes });
        }
        if waiting > 0 && waiting + bytes > INBOX_BYTES_MAX {
            return Err(Refused::Busy { channel: channel(), bytes: waiting });
        }
        let mut puts = Vec::with_capacity(1);
        let mut new = 0;
        for event in events {
            let id = event.id.map(IdHash::of);
            if let Some(id) = id
                && let Some(seen) = door.dedup.find(id, now_ms)
            {
                puts.push(Put::Known(id, seen));
                continue;
            }
            let index = door.inbox.builder.len() as u32;
            let NewEvent { timestamp_ms, key, value, headers, .. } = *event;
            door.inbox.builder.push(&NewRecord { timestamp: timestamp_ms, key, value, headers });
            new += 1;
            if let Some(id) = id {
                door.dedup.insert(id, Seen::Pending, now_ms);
                door.inbox.ids.push((id, index));
            }
            match puts.last_mut() {
                Some(Put::New(_, count)) => *count += 1,
                _ => puts.push(Put::New(index, 1)),
            }
        }
        self.counters.duplicates.fetch_add(events.len() as u64 - new, Ordering::Relaxed);
        self.counters.events.fetch_add(new, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        door.inbox.pending.push(Pending { puts, follow, answer });
        self.filled.notify_one();
        Ok(())
    }

    /// Writes what comes in, until the channel is closed and its inbox is empty.
    pub async fn write(self: Arc<Self>, ids: Arc<Ids>) {
        let mut spare = Inbox::default();
        let mut batch = Vec::new();
        loop {
            self.filled.notified().await;
            // Whoever is ready to put something in does so first: one write for all of them.
            tokio::task::yield_now().await;
            let mut inbox = {
                let mut door = self.door.lock();
                if door.inbox.pending.is_empty() {
                    if door.ended {
                        return;
                    }
                    continue;
                }
                std::mem::replace(&mut door.inbox, std::mem::take(&mut spare))
            };
            let written = self.append(&mut inbox, &mut batch, &ids);
            let ended = {
                let mut door = self.door.lock();
                for (id, index) in inbox.ids.drain(..) {
                    match &written {
                        Ok(base) => door.dedup.settle(id, base + i64::from(index)),
                        Err(_) => door.dedup.take_back(id),
                    }
                }
                // Those of the batch before are settled, too: this one was taken after it.
                for put in inbox.pending.iter_mut().flat_map(|pending| &mut pending.puts) {
                    if let Put::Known(id, seen @ Seen::Pending) = put {
                        *seen = door.dedup.find(*id, i64::MIN).unwrap_or(Seen::Pending);
                    }
                }
                door.ended
            };
            for pending in inbox.pending.drain(..) {
                self.answer(pending, &written);
            }
            self.written.send_replace(self.events.end());
            self.used_bytes.store(self.events.bytes(), Ordering::Relaxed);
            inbox.builder.clear();
            spare = inbox;
            // The end of a burst does not keep its memory.
            if batch.capacity() > 1 << 20 {
                batch = Vec::new();
            }
            if spare.builder.capacity() > 1 << 20 {
                spare = Inbox::default();
            }
            let more = !self.door.lock().inbox.pending.is_empty();
            if more || ended {
                self.filled.notify_one();
            }
        }
    }

    fn append(&self, inbox: &mut Inbox, batch: &mut Vec<u8>, ids: &Ids) -> Result<i64, Refused> {
        if inbox.builder.is_empty() {
            return Ok(self.events.end());
        }
        let failed = |error: ChainError| {
            let refused = Refused::Disk { channel: self.name.clone(), reason: error.to_string() };
            tracing::warn!(channel = self.name, %error, "events are refused: the spool cannot be written");
            refused
        };
        batch.clear();
        inbox
            .builder
            .build(&BatchOptions::default(), batch)
            .expect("an inbox is smaller than a batch may be");
        // Before the events: an id without its event is passed over at a start, an event without its id would be taken twice.
        let window_ms = self.settings.load().dedup_window_ms();
        ids.append(self.events.end(), &inbox.ids, now_ms(), window_ms).map_err(failed)?;
        self.events.append(batch).map_err(failed)
    }

    fn answer(&self, pending: Pending, written: &Result<i64, Refused>) {
        let Pending { puts, follow, answer } = pending;
        let mut events = Vec::with_capacity(puts.len());
        for put in puts {
            match (put, written) {
                (Put::New(index, count), Ok(base)) => {
                    let first = base + i64::from(index);
                    let run = first..first + i64::from(count);
                    events.extend(run.map(|offset| Spooled { offset, duplicate: false }));
                }
                (Put::Known(_, Seen::At(offset)), Ok(_)) => events.push(Spooled { offset, duplicate: true }),
                (_, Err(refused)) => {
                    let _ = answer.send(Err(refused.clone()));
                    return;
                }
                (Put::Known(_, Seen::Pending), Ok(_)) => {
                    let reason = "the request that brought the same event before was refused".to_owned();
                    let _ = answer.send(Err(Refused::Disk { channel: self.name.clone(), reason }));
                    return;
                }
            }
        }
        let end = events.iter().map(|event| event.offset + 1).max().unwrap_or(0);
        let mut positions = Vec::new();
        if follow {
            let mut followers = self.followers.lock();
            let confirmed = self.confirmed.load(Ordering::Acquire);
            for run in events.chunk_by(|one, next| one.offset + 1 == next.offset) {
                positions.push(followers.follow(run[0].offset, run.len()));
            }
            // What arrived before this is not told again.
            followers.all_arrived(confirmed);
        }
        let _ = answer.send(Ok(Taken { events, positions, end }));
    }

    /// Syncs whenever somebody waits for it; one sync serves all who asked before it.
    pub async fn sync(self: Arc<Self>) {
        loop {
            self.wants_sync.notified().await;
            match self.events.sync().await {
                Ok(end) => drop(self.durable.send_replace(end)),
                Err(error) => {
                    tracing::warn!(channel = self.name, %error, "the spool cannot be synced");
                    // Whoever waits goes on waiting: the next append looks at the segment again.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    self.wants_sync.notify_one();
                }
            }
        }
    }

    /// Waits until everything below `end` is durable.
    pub async fn durable(&self, end: i64) {
        let mut durable = self.durable.subscribe();
        if *durable.borrow_and_update() >= end {
            return;
        }
        loop {
            self.wants_sync.notify_one();
            // The channel holds the sender.
            if durable.changed().await.is_err() || *durable.borrow_and_update() >= end {
                return;
            }
        }
    }

    /// Everything below is durable, as a plan's sync found.
    pub fn is_durable(&self, end: i64) {
        self.durable.send_if_modified(|known| {
            let newer = end > *known;
            *known = end.max(*known);
            newer
        });
    }

    /// Everything below is in the cluster.
    pub fn confirm(&self, to: i64) {
        let before = self.confirmed.fetch_max(to, Ordering::AcqRel);
        if to > before {
            self.counters.confirmed.fetch_add((to - before) as u64, Ordering::Relaxed);
            self.followers.lock().all_arrived(to);
        }
    }

    /// Nobody asks for what lies below any more, also after a start: segments that lie below go.
    pub fn trim(&self, to: i64) {
        if self.events.trim(to) > 0 {
            self.used_bytes.store(self.events.bytes(), Ordering::Relaxed);
        }
    }

    /// Takes events, or takes none: what it has goes on to the cluster.
    pub fn set_open(&self, open: bool) {
        self.door.lock().closed = !open;
    }

    /// Takes nothing more; [`Channel::write`] returns when what is in the inbox is written.
    pub fn end(&self) {
        let mut door = self.door.lock();
        (door.closed, door.ended) = (true, true);
        self.filled.notify_one();
    }
}

/// Milliseconds since 1970, by this host's clock.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Bytes of an event.
fn size_of(event: &NewEvent<'_>) -> usize {
    let headers = event.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
    event.key.map_or(0, <[u8]>::len) + event.value.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}
