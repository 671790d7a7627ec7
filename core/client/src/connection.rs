//! One connection: requests out in the order they were handed in, answers in the same order.
//!
//! Two tasks, one that writes and one that reads; between them the queue of requests that went out. Whatever goes wrong
//! ends the connection and every request on it, each with what is known of it: whether any of its bytes went out
//! ([`Error::is_in_doubt`]). How many requests may be under way is the caller's to bound.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use buslane_wire::{Encoder, PieceBody, Request, frame};
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::answer::{Answer, common_version, name_of};
use crate::error::Error;
use crate::stream::Stream;

/// First and last version of each API key that a broker serves.
pub type Served = HashMap<i16, (i16, i16)>;

/// Room that is made for an answer at a time: its announced size alone costs nothing.
const READ_CHUNK: usize = 256 << 10;

/// A connection; cheap to clone. It is closed when the last clone and the last [`Pending`] are gone.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    peer: Arc<str>,
    client_id: Arc<str>,
    served: Served,
    correlation_id: AtomicI32,
    requests: mpsc::UnboundedSender<Outgoing>,
    under_way: Arc<UnderWay>,
    /// After this nobody should begin anything on it: the broker wants to know again who it is talking to (KIP-368).
    expires: Option<Instant>,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.under_way.end("the connection was closed here");
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Requests that went out and are not answered yet; why there will be no more answers.
#[derive(Debug, Default)]
struct UnderWay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    expected: VecDeque<Expected>,
    ended: Option<String>,
}

#[derive(Debug)]
struct Expected {
    correlation_id: i32,
    answer: oneshot::Sender<Result<Bytes, Unanswered>>,
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
struct Unanswered {
    reason: String,
    sent: bool,
}

impl UnderWay {
    /// The first reason counts.
    fn end(&self, reason: &str) {
        let mut state = self.state.lock();
        let reason = state.ended.get_or_insert_with(|| reason.to_owned()).clone();
        for expected in state.expected.drain(..) {
            let _ = expected.answer.send(Err(Unanswered { reason: reason.clone(), sent: true }));
        }
    }

    fn ended(&self) -> Option<String> {
        self.state.lock().ended.clone()
    }
}

struct Outgoing {
    expected: Expected,
    pieces: Vec<Bytes>,
}

impl Connection {
    /// Takes a stream over on which nothing is under way.
    pub(crate) fn new(
        stream: Stream,
        peer: Arc<str>,
        client_id: Arc<str>,
        answer_bytes_max: usize,
    ) -> Connection {
        let (reading, writing) = tokio::io::split(stream);
        let under_way = Arc::new(UnderWay::default());
        let (requests, outgoing) = mpsc::unbounded_channel();
        let writer = tokio::spawn(write(writing, outgoing, under_way.clone()));
        let reader = tokio::spawn(read(reading, under_way.clone(), answer_bytes_max));
        Connection {
            inner: Arc::new(Inner {
                peer,
                client_id,
                served: Served::new(),
                correlation_id: AtomicI32::new(0),
                requests,
                under_way,
                expires: None,
                tasks: [writer.abort_handle(), reader.abort_handle()],
            }),
        }
    }

    /// What was found out while the connection was made.
    pub(crate) fn made(mut self, served: Served, expires: Option<Instant>) -> Connection {
        let inner = Arc::get_mut(&mut self.inner).expect("a connection that is being made has one owner");
        (inner.served, inner.expires) = (served, expires);
        self
    }

    /// `host:port`.
    pub fn peer(&self) -> &str {
        &self.inner.peer
    }

    /// First and last version of each API key that the broker serves.
    pub fn served(&self) -> &Served {
        &self.inner.served
    }

    /// False when it has ended, or is about to be of no use.
    pub fn is_usable(&self) -> bool {
        self.inner.expires.is_none_or(|expires| Instant::now() < expires)
            && self.inner.under_way.ended().is_none()
    }

    /// The version of a request that [`Connection::send`] would speak.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn version_of<R: Request>(&self, versions: &RangeInclusive<i16>) -> Result<i16, Error> {
        common_version::<R>(&self.inner.peer, versions, self.inner.served.get(&R::SCHEMA.key).copied())
    }

    /// Sends a request in the highest of `versions` that both sides know. It is on its way, behind all those before it,
    /// when this returns; records that are [`buslane_wire::Records::Shared`] are not copied.
    ///
    /// # Errors
    /// Nothing of it was sent: [`Error::Unsupported`], [`Error::Unwritable`], [`Error::Lost`].
    pub fn send<R: Request>(&self, versions: RangeInclusive<i16>, request: &R) -> Result<Pending<R>, Error> {
        let version = self.version_of::<R>(&versions)?;
        self.send_as(version, request)
    }

    pub(crate) fn send_as<R: Request>(&self, version: i16, request: &R) -> Result<Pending<R>, Error> {
        let inner = &self.inner;
        let correlation_id = inner.correlation_id.fetch_add(1, Ordering::Relaxed);
        let mut encoder = Encoder::new();
        frame::encode_request(&mut encoder, correlation_id, Some(&inner.client_id), version, request)
            .map_err(|error| Error::Unwritable { request: name_of::<R>(), reason: error.to_string() })?;
        let (answer, arrives) = oneshot::channel();
        let outgoing =
            Outgoing { expected: Expected { correlation_id, answer }, pieces: pieces(&mut encoder) };
        let pending =
            Pending { connection: self.clone(), version, arrives, request: std::marker::PhantomData };
        match inner.requests.send(outgoing) {
            Ok(()) => Ok(pending),
            Err(_) => Err(pending.lost(Unanswered { reason: self.why(), sent: false })),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Pending::answer`].
    pub async fn ask<R: Request>(
        &self,
        versions: RangeInclusive<i16>,
        request: &R,
        limit: Duration,
    ) -> Result<Answer<R>, Error> {
        self.send(versions, request)?.answer(limit).await
    }

    /// Ends it and every request on it.
    pub fn close(&self, reason: &str) {
        self.inner.under_way.end(reason);
        self.inner.tasks.iter().for_each(AbortHandle::abort);
    }

    fn why(&self) -> String {
        self.inner.under_way.ended().unwrap_or_else(|| "the connection has ended".to_owned())
    }
}

/// A request that is on its way.
#[derive(Debug)]
#[must_use = "its answer is waited for, or nobody learns what became of it"]
pub struct Pending<R> {
    connection: Connection,
    version: i16,
    arrives: oneshot::Receiver<Result<Bytes, Unanswered>>,
    request: std::marker::PhantomData<fn(R)>,
}

impl<R: Request> Pending<R> {
    /// Waits for the answer, for so long. Then the connection is closed: answers come in order, so that all that is behind
    /// this one would be late as well.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Late`].
    pub async fn answer(mut self, limit: Duration) -> Result<Answer<R>, Error> {
        let Ok(arrived) = tokio::time::timeout(limit, &mut self.arrives).await else {
            let (peer, request) = (self.connection.peer().to_owned(), name_of::<R>());
            let late = Error::Late { peer, request, after: limit };
            self.connection.close(&format!("a request was not answered in time: {request}"));
            return Err(late);
        };
        match arrived {
            Ok(Ok(frame)) => Ok(Answer::new(frame, self.version, self.connection.inner.peer.clone())),
            Ok(Err(unanswered)) => Err(self.lost(unanswered)),
            // It never got as far as the socket.
            Err(_) => Err(self.lost(Unanswered { reason: self.connection.why(), sent: false })),
        }
    }

    fn lost(&self, Unanswered { reason, sent }: Unanswered) -> Error {
        Error::Lost { peer: self.connection.peer().to_owned(), request: name_of::<R>(), reason, sent }
    }
}

/// A frame as the stretches that it is written in.
fn pieces(encoder: &mut Encoder) -> Vec<Bytes> {
    let (buffer, external) = encoder.take();
    let mut rest = Bytes::from(buffer);
    let mut all = Vec::with_capacity(2 * external.len() + 1);
    let mut written = 0;
    for piece in external {
        all.push(rest.split_to(piece.position - written));
        written = piece.position;
        match piece.body {
            PieceBody::Shared(bytes) => all.push(bytes),
            PieceBody::External { .. } => unreachable!("a client has the records that it sends"),
        }
    }
    all.push(rest);
    all.retain(|bytes| !bytes.is_empty());
    all
}

async fn write(
    mut stream: WriteHalf<Stream>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    under_way: Arc<UnderWay>,
) {
    while let Some(Outgoing { expected, pieces }) = outgoing.recv().await {
        {
            let mut state = under_way.state.lock();
            if let Some(reason) = state.ended.clone() {
                let _ = expected.answer.send(Err(Unanswered { reason, sent: false }));
                break;
            }
            // From here on it may have been sent; the answer cannot come before.
            state.expected.push_back(expected);
        }
        let mut chain = Stretches(pieces.into());
        let mut written = Ok(());
        while chain.has_remaining() && written.is_ok() {
            written = stream.write_buf(&mut chain).await.map(drop);
        }
        if written.is_ok() {
            written = stream.flush().await;
        }
        if let Err(error) = written {
            under_way.end(&error.to_string());
            break;
        }
    }
}

/// Buffers one after another, written together where the system can.
struct Stretches(VecDeque<Bytes>);

impl Buf for Stretches {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [io::IoSlice<'a>]) -> usize {
        let filled = into.len().min(self.0.len());
        for (slice, bytes) in into.iter_mut().zip(&self.0) {
            *slice = io::IoSlice::new(bytes);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let front = self.0.front_mut().expect("no more is written than there is");
            let taken = count.min(front.len());
            front.advance(taken);
            count -= taken;
            if front.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

async fn read(mut stream: ReadHalf<Stream>, under_way: Arc<UnderWay>, answer_bytes_max: usize) {
    let mut buffer = BytesMut::new();
    loop {
        match next_frame(&mut stream, &mut buffer, answer_bytes_max).await {
            Ok(frame) => {
                if let Err(reason) = hand_over(&under_way, frame) {
                    return under_way.end(&reason);
                }
            }
            Err(error) => return under_way.end(&error.to_string()),
        }
    }
}

async fn next_frame(stream: &mut ReadHalf<Stream>, buffer: &mut BytesMut, max: usize) -> io::Result<Bytes> {
    let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
    while buffer.len() < 4 {
        buffer.reserve(READ_CHUNK);
        if stream.read_buf(buffer).await? == 0 {
            return Err(closed());
        }
    }
    let len = frame::frame_len(buffer[..4].try_into().expect("four bytes"), max).map_err(io::Error::other)?;
    buffer.advance(4);
    while buffer.len() < len {
        buffer.reserve((len - buffer.len()).min(READ_CHUNK.max(buffer.len())));
        if stream.read_buf(buffer).await? == 0 {
            return Err(closed());
        }
    }
    Ok(buffer.split_to(len).freeze())
}

/// Gives an answer to the request that it is due to.
fn hand_over(under_way: &UnderWay, frame: Bytes) -> Result<(), String> {
    let Some(id) = frame.first_chunk().map(|id| i32::from_be_bytes(*id)) else {
        return Err(format!("it sent an answer of {} bytes", frame.len()));
    };
    let mut state = under_way.state.lock();
    match state.expected.front() {
        Some(expected) if expected.correlation_id == id => {
            let expected = state.expected.pop_front().expect("it was just seen");
            // Whoever asked may have gone away.
            let _ = expected.answer.send(Ok(frame));
            Ok(())
        }
        Some(expected) => Err(format!("it answered request {id} when {} was due", expected.correlation_id)),
        None => Err(format!("it answered request {id}, which nobody asked")),
    }
}
