//! Where partitions begin and end, and ids of producers.

use buslane_wire::ErrorCode;
use buslane_wire::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};
use buslane_wire::messages::{InitProducerIdRequest, ListOffsetsRequest};

use crate::client::{ANY_VERSION, Client, Purpose};
use crate::error::Error;

/// An offset that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first that can be read.
    Earliest,
    /// The end: that of the next record.
    Latest,
    /// The first record with this timestamp or a later one, in milliseconds.
    Timestamp(i64),
}

/// Who writes: what the sequences of its batches belong to (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProducerId {
    /// The id.
    pub id: i64,
    /// Rises when its sequences begin anew.
    pub epoch: i16,
}

impl Client {
    /// Looks an offset up at the node that leads the partition. None: no record has such a timestamp.
    ///
    /// # Errors
    /// As [`Client::leader`] and [`crate::Connection::ask`]; [`Error::Refused`] for the partition.
    pub async fn offset(&self, topic: &str, partition: i32, at: At) -> Result<Option<i64>, Error> {
        let node = self.leader(topic, partition).await?;
        let timestamp = match at {
            At::Earliest => -2,
            At::Latest => -1,
            At::Timestamp(ms) => ms.max(0),
        };
        let wanted = ListOffsetsPartition { partition_index: partition, current_leader_epoch: -1, timestamp };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: topic, partitions: vec![wanted] }],
            ..Default::default()
        };
        let limit = self.config().request_timeout;
        let answer = self.node(node, Purpose::Requests).await?.ask(ANY_VERSION, &request, limit).await?;
        let response = answer.read()?;
        let told = response
            .topics
            .iter()
            .filter(|found| found.name == topic)
            .flat_map(|found| &found.partitions)
            .find(|found| found.partition_index == partition)
            .ok_or_else(|| {
                answer.malformed(format!("nothing of partition {partition} of topic {topic:?}"))
            })?;
        if told.error_code != ErrorCode::NONE {
            let message = Some(format!("partition {partition} of topic {topic:?}"));
            let (peer, code) = (answer.peer().to_owned(), told.error_code);
            return Err(Error::Refused { peer, request: "ListOffsets", code, message });
        }
        Ok(Some(told.offset).filter(|offset| *offset >= 0))
    }

    /// A producer id that nobody else has.
    ///
    /// # Errors
    /// As [`Client::ask`]; [`Error::Refused`].
    pub async fn new_producer_id(&self) -> Result<ProducerId, Error> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let answer = self.ask(ANY_VERSION, &request).await?;
        let response = answer.read()?;
        if response.error_code.is_err() {
            let (peer, code) = (answer.peer().to_owned(), response.error_code);
            return Err(Error::Refused { peer, request: "InitProducerId", code, message: None });
        }
        Ok(ProducerId { id: response.producer_id, epoch: response.producer_epoch })
    }
}
