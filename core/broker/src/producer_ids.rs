//! Producer ids, given out from blocks that metadata allocates (KIP-730): none is ever given out twice, not even across
//! restarts; what is left of a block at a restart is skipped.

use std::ops::Range;
use std::sync::Arc;

use buslane_meta::{Command, Consensus, Event};
use tokio::sync::Mutex;

/// Ids of one block (Kafka's number).
const BLOCK: u32 = 1_000;

/// The block in use.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// The next id; none when the metadata does not answer.
    pub async fn next(&self, consensus: &Arc<dyn Consensus>) -> Option<i64> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Some(id);
        }
        let results = consensus.propose(vec![Command::AllocateProducerIds { count: BLOCK }]).await.ok()?;
        match results.into_iter().next() {
            Some(Ok(Event::ProducerIds { first, count })) => {
                *block = first..first + i64::from(count);
                block.next()
            }
            _ => None,
        }
    }
}
