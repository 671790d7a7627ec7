//! A Kafka client for administration: one request, one answer, in the highest version that both sides know.
//!
//! librdkafka's Rust interface has neither groups' offsets nor incremental changes of settings, and keeps the broker's
//! explanation of a refusal to itself; so this client speaks with [`buslane_wire`] directly. It blocks, and every
//! request has a time limit. What it can ask for, by subject:
//! * [`cluster`]: nodes, topics, and the offsets of partitions.
//! * [`groups`]: list, describe, delete; committed offsets. [`assignment`]: what classic members own.
//! * [`settings`]: show and change. [`topics`]: add partitions.
//!
//! A topic or group that a broker does not know is an answer. "Not now" (a coordinator that loads, a partition that
//! changes hands) is asked again until the time limit: [`Admin::patiently`].

mod assignment;
pub mod cluster;
mod connection;
pub mod groups;
mod refusal;
pub mod settings;
pub mod topics;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use buslane_wire::Request;

use crate::connection::{BrokerArgs, connect};
use crate::exit::{Failure, Status};
pub use connection::Answer;
use connection::Connection;
pub use refusal::{Refusal, Trouble, refused};

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// None for the address that the user gave: which node is there does not matter.
    pub id: Option<i32>,
    pub host: String,
    pub port: u16,
}

/// A connected client.
pub struct Admin {
    /// How long one request may take, and all of those that are one question asked again.
    pub limit: Duration,
    first: Node,
    connections: HashMap<(String, u16), Connection>,
}

impl Admin {
    /// Connects to the first address that answers as a Kafka broker does.
    pub fn connect(args: &BrokerArgs) -> Result<Self, Failure> {
        let (first, connection) = args.first(|host, port, limit| {
            let stream = connect(host, port, limit).map_err(|reason| format!("{host}:{port}: {reason}"))?;
            let connection = Connection::open(stream, &format!("{host}:{port}"), limit)?;
            Ok((Node { id: None, host: host.to_owned(), port }, connection))
        })?;
        let connections = HashMap::from([((first.host.clone(), first.port), connection)]);
        Ok(Self { limit: args.timeout, first, connections })
    }

    /// A broker that can be asked what any broker can answer.
    pub fn any(&self) -> Node {
        self.first.clone()
    }

    /// Sends a request in the highest of `versions` that the broker knows, and waits for the answer.
    ///
    /// # Errors
    /// Unreachable when the broker cannot be connected to or does not answer; Failed when it knows none of the versions.
    /// That it refuses is in the answer.
    pub fn ask<R: Request>(
        &mut self,
        node: &Node,
        versions: RangeInclusive<i16>,
        request: &R,
    ) -> Result<Answer<R>, Failure> {
        let address = (node.host.clone(), node.port);
        // It comes back only when it is whole: after a late or broken answer nothing that follows could be told apart.
        let mut connection = match self.connections.remove(&address) {
            Some(connection) => connection,
            None => self.open(node)?,
        };
        let answer = connection.ask(versions, request, self.limit)?;
        self.connections.insert(address, connection);
        Ok(answer)
    }

    fn open(&self, node: &Node) -> Result<Connection, Failure> {
        let peer = format!("{}:{}", node.host, node.port);
        let stream = connect(&node.host, node.port, self.limit).map_err(|reason| {
            let who = node.id.map_or_else(|| "a broker".to_owned(), |id| format!("node {id}"));
            Failure::new(
                Status::Unreachable,
                format!("{who} is at {peer}, as the cluster advertises it, and cannot be reached from here: {reason}"),
            )
        })?;
        Connection::open(stream, &peer, self.limit)
            .map_err(|reason| Failure::new(Status::Unreachable, reason))
    }

    /// Asks again while the broker's answer is "not now", at most until the time limit. `ask` finds out anew whom to ask.
    pub fn patiently<T>(
        &mut self,
        mut ask: impl FnMut(&mut Self) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        const PAUSE: Duration = Duration::from_millis(50);
        let end = Instant::now() + self.limit;
        loop {
            match ask(self) {
                Err(Trouble::Refused(refusal)) if refusal.is_not_now() && Instant::now() + PAUSE < end => {
                    std::thread::sleep(PAUSE);
                }
                answer => return answer,
            }
        }
    }
}
