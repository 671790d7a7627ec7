//! What the broker proposes to. One voter now, more later: the same trait, the same conformance tests.

use std::pin::Pin;
use std::sync::Arc;

use buslane_wire::ids::NodeId;
use tokio::sync::watch;

use crate::apply::Outcomes;
use crate::command::Command;
use crate::image::Image;

/// Why a proposal has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads; nothing was proposed. Ask that one.
    #[error("the metadata is led by {}", Named(*.leader))]
    NotLeader {
        /// Who leads, where that is known.
        leader: Option<NodeId>,
    },
    /// It is being stopped; nothing was proposed.
    #[error("the metadata is being stopped")]
    Stopped,
    /// It may have happened or not: read the image, as [`Command`] says.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
}

struct Named(Option<NodeId>);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(node) => write!(f, "node {node}"),
            None => f.write_str("no node that is known"),
        }
    }
}

/// Who leads the consensus group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leader {
    /// This node: proposals are taken here.
    Me,
    /// That one.
    Other(NodeId),
    /// Nobody that is known here.
    Unknown,
}

/// A proposal under way: the outcome of each command, in order.
pub type Proposing<'a> = Pin<Box<dyn Future<Output = Result<Outcomes, ProposeError>> + Send + 'a>>;

/// The metadata consensus group as one node sees it.
///
/// Contract, which every implementation's tests hold it to:
/// * An outcome is given once its entry is durable and applied here: [`Consensus::image`] shows it from then on, and so
///   does every later opening of the same folder.
/// * The commands of one proposal are applied in order and next to each other, each judged by the image that the ones
///   before it made. Proposals of many callers share one entry and one sync; a lone one waits for nobody.
/// * [`Image::version`] never falls.
pub trait Consensus: Send + Sync + 'static {
    /// Proposes commands. They are queued at the first poll, and dropping the future does not take them back (while the
    /// queue is full they wait for room, and dropping it does). No commands, no outcomes: nothing is proposed.
    fn propose(&self, commands: Vec<Command>) -> Proposing<'_>;

    /// The image as of the newest applied entry.
    fn image(&self) -> Arc<Image>;

    /// Sees each new image, or the newest of several.
    fn watch(&self) -> watch::Receiver<Arc<Image>>;

    /// Who leads.
    fn leader(&self) -> Leader;

    /// The term of the leader: rises with each election.
    fn term(&self) -> u64;

    /// Why nothing can be proposed here any more, once its log could not be written: for good, until the folder is
    /// opened anew. What was answered before stays true.
    fn failure(&self) -> Option<String>;
}
