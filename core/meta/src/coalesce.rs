//! Many callers' commands in one entry.
//!
//! While an entry is being made durable, what arrives waits, and goes together as the next one: one sync serves all of
//! them, and a lone proposal goes at once. No timer.

use tokio::sync::{mpsc, oneshot};

use crate::apply::Outcomes;
use crate::command::Command;
use crate::consensus::ProposeError;

/// Proposals that wait at most; further callers wait before they are taken.
const WAITING_MAX: usize = 1_024;

/// Commands in one entry at most, the last proposal's excess apart.
const COMMANDS_MAX: usize = 4_096;

/// A proposal that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Outcomes, ProposeError>>,
}

/// Proposals that share one entry.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) commands: Vec<Command>,
    replies: Vec<(usize, oneshot::Sender<Result<Outcomes, ProposeError>>)>,
}

pub(crate) fn queue() -> (mpsc::Sender<Waiting>, mpsc::Receiver<Waiting>) {
    mpsc::channel(WAITING_MAX)
}

/// Queues commands and waits for their outcomes. `queue` is none when it was closed.
pub(crate) async fn propose(
    queue: Option<mpsc::Sender<Waiting>>,
    commands: Vec<Command>,
) -> Result<Outcomes, ProposeError> {
    let Some(queue) = queue else { return Err(ProposeError::Stopped) };
    if commands.is_empty() {
        return Ok(Outcomes::new());
    }
    let (reply, answer) = oneshot::channel();
    // At the first poll where there is room; a `send` alone may let other tasks go first.
    let queued = match queue.try_send(Waiting { commands, reply }) {
        Err(mpsc::error::TrySendError::Full(waiting)) => queue.send(waiting).await.is_ok(),
        other => other.is_ok(),
    };
    if !queued {
        return Err(ProposeError::Stopped);
    }
    // The queue ends when its last sender goes; this one is done with it.
    drop(queue);
    answer.await.unwrap_or_else(|_| Err(ProposeError::Unknown("the metadata stopped meanwhile".to_owned())))
}

impl Batch {
    /// The first proposal and whatever waits behind it.
    pub(crate) fn gather(first: Waiting, waiting: &mut mpsc::Receiver<Waiting>) -> Batch {
        let mut batch =
            Batch { replies: vec![(first.commands.len(), first.reply)], commands: first.commands };
        while batch.commands.len() < COMMANDS_MAX
            && let Ok(mut more) = waiting.try_recv()
        {
            batch.replies.push((more.commands.len(), more.reply));
            batch.commands.append(&mut more.commands);
        }
        batch
    }

    /// Gives each caller its own outcomes, or all of them the error. Whoever asked may have gone.
    pub(crate) fn answer(self, outcome: Result<Outcomes, ProposeError>) {
        match outcome {
            Ok(outcomes) => {
                let asked: usize = self.replies.iter().map(|(count, _)| count).sum();
                assert_eq!(outcomes.len(), asked, "one outcome for each command");
                let mut outcomes = outcomes.into_iter();
                for (count, reply) in self.replies {
                    let _ = reply.send(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                for (_, reply) in self.replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}
