//! What requests of many entries may take in memory, and the threads they may take.
//!
//! A request is a list of small things; each becomes structs, is looked up and is told something, which takes up to fifty
//! times its bytes. The number of things is known before a request is served, so what it needs is too, nearly; the
//! connection waits for that much of the budget ([`crate::net::RequestHandler::memory_needed`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use buslane_wire::frame::{RequestHeader, RequestPrefix};
use buslane_wire::messages as m;
use buslane_wire::{ApiKey, DecodeError, DecodeErrorKind, count_elements};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::SERVED;
use crate::allocator;
use crate::net::{Budget, Charge};

/// Requests of at most so many bytes are served without asking for memory first.
const SMALL_REQUEST: usize = 2 << 10;

/// The longest request, in bytes, except one with records: 100,000 partitions fit in any kind.
const LONGEST: usize = 4 << 20;

/// Bytes that an entry takes: decoded, kept, looked up, answered and encoded. Measured by `tests/raw/test_hostile.py`.
const PER_ENTRY: usize = 512;

/// The same where each is answered with all its settings (without their documentation).
const PER_DESCRIBED: usize = 6 << 10;

/// Partitions of a produce request that are served without asking for memory first.
const FEW_PARTITIONS: usize = 64;

/// Bytes of structs at most that a request may be decoded to.
const DECODED_MAX: usize = 24 << 20;

/// Most memory that any one request may need, in bytes: 131,072 entries.
const NEEDED_MAX: usize = 64 << 20;

/// From here on, in bytes needed, a request is served on a thread of its own.
const WIDE: usize = 512 << 10;

/// What wide requests have freed is given back to the system at most this often.
const GIVE_BACK_EACH: Duration = Duration::from_millis(20);

/// Bytes of structs that a produce request may have for each of its bytes, and besides: each partition has a batch, whose
/// header alone is as long as the structs that come of it. And at most.
const PRODUCE_HEAP: (usize, usize, usize) = (2, 16 << 10, 8 << 20);

/// Bytes of structs that a produce request may be decoded to.
pub fn produce_heap(body: &[u8]) -> usize {
    let (per_byte, besides, at_most) = PRODUCE_HEAP;
    (per_byte * body.len() + besides).min(at_most)
}

/// What a request may take in memory besides its own bytes while it is served; see the module. Frames that cannot be read
/// need nothing: that is found and told when they are served.
///
/// # Errors
/// A request that is longer, or has more entries, than any of its kind needs to be.
pub fn memory_needed(frame: &[u8]) -> Result<usize, String> {
    let Ok(prefix) = RequestPrefix::peek(frame) else { return Ok(0) };
    let Some(served) = SERVED.iter().find(|served| served.key as i16 == prefix.api_key) else { return Ok(0) };
    if frame.len() <= SMALL_REQUEST || !(served.first..=served.last).contains(&prefix.api_version) {
        return Ok(0);
    }
    let (name, len) = (served.key.name(), frame.len());
    if served.key != ApiKey::Produce && len > LONGEST {
        return Err(format!("{name} of {len} bytes, at most {LONGEST} are taken"));
    }
    let Ok((header, body)) = RequestHeader::decode(frame) else { return Ok(0) };
    let entries = match entries(served.key, body, header.api_version) {
        Ok(entries) => entries,
        Err(DecodeError { kind: DecodeErrorKind::HeapBudget { .. }, .. }) => {
            return Err(format!("{name} of {len} bytes has too many entries"));
        }
        Err(_) => return Ok(0),
    };
    let needed = match served.key {
        ApiKey::Produce if entries <= FEW_PARTITIONS => 0,
        ApiKey::Produce => entries * PER_ENTRY,
        ApiKey::DescribeConfigs => entries * PER_DESCRIBED + 2 * len,
        // What they bring is copied for the group, and for its log.
        ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::OffsetCommit => entries * PER_ENTRY + 4 * len,
        // What is too much of these is told by whoever creates them.
        ApiKey::CreateTopics | ApiKey::CreatePartitions => (entries * PER_ENTRY + 2 * len).min(NEEDED_MAX),
        _ => entries * PER_ENTRY + 2 * len,
    };
    match needed {
        0..=NEEDED_MAX => Ok(needed),
        _ => Err(format!("{name} with {entries} entries, too many")),
    }
}

/// The number of elements in all arrays of a request.
fn entries(key: ApiKey, body: &[u8], version: i16) -> Result<usize, DecodeError> {
    macro_rules! count {
        ($($kind:ident: $request:ident),* $(,)?) => {
            match key {
                ApiKey::Produce => count_elements::<m::ProduceRequest<'_>>(body, version, produce_heap(body)),
                $(ApiKey::$kind => count_elements::<m::$request<'_>>(body, version, DECODED_MAX),)*
                // Without arrays.
                _ => Ok(0),
            }
        };
    }
    count! {
        Fetch: FetchRequest,
        ListOffsets: ListOffsetsRequest,
        Metadata: MetadataRequest,
        OffsetCommit: OffsetCommitRequest,
        OffsetFetch: OffsetFetchRequest,
        FindCoordinator: FindCoordinatorRequest,
        JoinGroup: JoinGroupRequest,
        LeaveGroup: LeaveGroupRequest,
        SyncGroup: SyncGroupRequest,
        DescribeGroups: DescribeGroupsRequest,
        ListGroups: ListGroupsRequest,
        CreateTopics: CreateTopicsRequest,
        DeleteTopics: DeleteTopicsRequest,
        DeleteRecords: DeleteRecordsRequest,
        OffsetForLeaderEpoch: OffsetForLeaderEpochRequest,
        DescribeConfigs: DescribeConfigsRequest,
        AlterConfigs: AlterConfigsRequest,
        DescribeLogDirs: DescribeLogDirsRequest,
        CreatePartitions: CreatePartitionsRequest,
        DeleteGroups: DeleteGroupsRequest,
        ElectLeaders: ElectLeadersRequest,
        IncrementalAlterConfigs: IncrementalAlterConfigsRequest,
        OffsetDelete: OffsetDeleteRequest,
        DescribeClientQuotas: DescribeClientQuotasRequest,
        AlterClientQuotas: AlterClientQuotasRequest,
        DescribeQuorum: DescribeQuorumRequest,
        DescribeProducers: DescribeProducersRequest,
        ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest,
        ConsumerGroupDescribe: ConsumerGroupDescribeRequest,
        DescribeTopicPartitions: DescribeTopicPartitionsRequest,
    }
}

/// The memory of one request while it is served.
pub struct Memory<'c> {
    budget: &'c Budget,
    charge: Mutex<Option<Charge>>,
    wide: AtomicBool,
}

impl Memory<'_> {
    /// With what was charged for a request before it was begun.
    pub fn new(budget: &Budget, charge: Option<Charge>) -> Memory<'_> {
        let wide = charge.as_ref().is_some_and(|charge| charge.bytes() >= WIDE);
        Memory { budget, charge: Mutex::new(charge), wide: wide.into() }
    }

    /// From the next await on this request is served on a thread of its own.
    pub fn becomes_wide(&self) {
        self.wide.store(true, Ordering::Relaxed);
    }

    /// Instead of its working memory, the request keeps so many bytes while it waits for what it asks for. False when too
    /// many wait already: it must not.
    pub fn park(&self, bytes: usize) -> bool {
        let parked = self.budget.park(bytes);
        let may_wait = parked.is_some();
        if may_wait {
            *self.charge.lock() = parked;
        }
        may_wait
    }

    /// What is charged, for the response.
    pub fn for_response(&self) -> Option<Charge> {
        self.charge.lock().take().map(Charge::into_response)
    }

    /// Does a part of a step as a wide request does all of its steps.
    pub fn wide_step<T>(&self, step: impl FnOnce() -> T) -> T {
        if self.wide.load(Ordering::Relaxed) { step() } else { alone(step) }
    }

    /// Does one step of serving the request.
    pub fn step<T>(&self, step: impl FnOnce() -> T) -> T {
        if self.wide.load(Ordering::Relaxed) { alone(step) } else { step() }
    }
}

/// Does a step of a wide request: one at a time in this process, and where it holds up no other task of the runtime.
pub fn alone<T>(step: impl FnOnce() -> T) -> T {
    /// When free memory was given back last.
    static ONE: Mutex<Option<Instant>> = Mutex::new(None);
    let step = || {
        let mut given_back = ONE.lock();
        let done = step();
        if given_back.is_none_or(|at| at.elapsed() > GIVE_BACK_EACH) {
            allocator::give_back();
            *given_back = Some(Instant::now());
        }
        done
    };
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(step),
        // Not in the server: a runtime of one thread has nobody to hand its tasks to.
        _ => step(),
    }
}

#[cfg(test)]
mod tests {
    use buslane_wire::Encoder;
    use buslane_wire::frame::encode_request;
    use buslane_wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
    use buslane_wire::messages::find_coordinator::FindCoordinatorRequest;
    use buslane_wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
    use buslane_wire::{Message, Records};

    use super::*;

    fn needed<M: Message>(version: i16, request: &M) -> Result<usize, String> {
        let mut encoder = Encoder::new();
        encode_request(&mut encoder, 7, None, version, request).unwrap();
        memory_needed(&encoder.to_vec().unwrap()[4..])
    }

    fn produce(partitions: usize, batch: &[u8]) -> ProduceRequest<'_> {
        let one = |index| PartitionProduceData { index, records: Some(Records::Slice(batch)) };
        let partition_data = (0..partitions as i32).map(one).collect();
        ProduceRequest {
            topic_data: vec![TopicProduceData { name: "t", partition_data, ..Default::default() }],
            ..Default::default()
        }
    }

    fn fetch(partitions: usize) -> FetchRequest<'static> {
        let one = |partition| FetchPartition { partition, ..Default::default() };
        let partitions = (0..partitions as i32).map(one).collect();
        FetchRequest {
            topics: vec![FetchTopic { topic: "t", partitions, ..Default::default() }],
            ..Default::default()
        }
    }

    fn find_coordinator(keys: usize) -> FindCoordinatorRequest<'static> {
        FindCoordinatorRequest { coordinator_keys: vec![""; keys], ..Default::default() }
    }

    #[test]
    fn bulk_and_small_requests_need_nothing() {
        assert_eq!(needed(8, &produce(10, &[0; 100_000])), Ok(0));
        assert_eq!(needed(4, &fetch(100)), Ok(0));
        assert_eq!(memory_needed(b"what"), Ok(0));
        assert_eq!(memory_needed(&[1; 5_000]), Ok(0));
    }

    #[test]
    fn entries_cost_and_too_many_are_refused() {
        assert_eq!(needed(8, &produce(20_000, &[0; 80])), Ok(20_001 * PER_ENTRY));
        assert!(needed(4, &fetch(100_000)).unwrap() >= 100_000 * PER_ENTRY);
        assert!(needed(4, &fetch(200_000)).unwrap_err().contains("200001 entries"));
        assert!(needed(4, &find_coordinator(100_000)).unwrap() >= 100_000 * PER_ENTRY);
        assert!(needed(4, &find_coordinator(1_000_000)).is_err());
        assert!(needed(8, &produce(300_000, &[])).unwrap_err().contains("too many"));
    }
}
