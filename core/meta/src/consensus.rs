//! What the broker proposes to. One voter now, more later: the same trait.

use std::pin::Pin;
use std::sync::Arc;

use crate::command::{Command, Event, Refused};
use crate::image::Image;

/// Why a proposal has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// It is being stopped; nothing was proposed.
    #[error("the metadata is being stopped")]
    Stopped,
    /// It may have happened or not: read the image.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
}

/// A proposal under way: the outcome of each command, in order.
pub type Proposing<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<Result<Event, Refused>>, ProposeError>> + Send + 'a>>;

/// The metadata consensus group as one node sees it.
pub trait Consensus: Send + Sync + 'static {
    /// Proposes commands; the answer comes when they are durable and applied here. Proposals of many callers share one
    /// entry and one sync. Dropping the future does not take the proposal back.
    fn propose(&self, commands: Vec<Command>) -> Proposing<'_>;

    /// The image as of the newest applied command.
    fn image(&self) -> Arc<Image>;
}
