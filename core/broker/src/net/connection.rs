//! One connection: read frames, start handlers in order, write responses in order.
//!
//! One task, one `poll`: each wake-up polls the handlers in flight, writes what is due, and reads as many frames as the
//! limits allow. There is no state between the parts but the queue of requests in flight.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{Budget, Charge, Share};
use super::frame::{Frame, FrameReader, ReadError};
use super::handler::{ConnectionContext, Outcome, RequestHandler};
use super::limits::ConnectionLimits;
use super::progress::{Pace, Progress};
use super::residency::Residency;
use super::transport::Transport;
use super::writer::{ResponseWriter, WriteError};
use crate::metrics::{ListenerMetrics, RequestTag};

/// No further request is started while more bytes than this wait in memory to be written.
const UNWRITTEN_MAX: usize = 1 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The client closed it between two requests.
    #[error("closed by the client")]
    ByClient,
    /// Nothing happened for too long.
    #[error("idle for too long")]
    Idle,
    /// A request took too long to arrive.
    #[error("a request was too slow to arrive")]
    SlowRequest,
    /// The client took its responses too slowly.
    #[error("responses were taken too slowly")]
    SlowReader,
    /// The client had closed its sending side and requests went on for too long.
    #[error("requests outlived the client")]
    Lingered,
    /// The handler asked for it.
    #[error("closed by the request's handler")]
    ByHandler,
    /// The server shuts down.
    #[error("the server shuts down")]
    Shutdown,
    /// No frame could be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No response could be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

type Running<'h> = Pin<Box<dyn Future<Output = Outcome> + Send + 'h>>;

/// A request from its frame to its response.
struct InFlight<'h> {
    state: State<'h>,
    tag: RequestTag,
    started: Instant,
    /// Bytes of its response in memory, once there is one.
    held: usize,
}

struct Admitting {
    frame: Frame,
    needed: usize,
    memory: Charge,
}

enum State<'h> {
    Running(Running<'h>),
    Done(Outcome),
}

/// One connection's state. `'h`: the handler and the context that the futures in flight borrow.
pub struct Connection<'h, H> {
    handler: &'h H,
    context: &'h ConnectionContext,
    limits: ConnectionLimits,
    metrics: &'h ListenerMetrics,
    reader: FrameReader,
    /// A whole frame that waits for its working memory; nothing is read meanwhile.
    admitting: Option<Admitting>,
    writer: ResponseWriter,
    in_flight: VecDeque<InFlight<'h>>,
    /// Set once no further frame is read; the connection ends when all before it is written.
    ending: Option<Closed>,
    last_active: Instant,
    /// Until then no further request is begun to be read. One that is half read is read on and served, so that nothing
    /// of it waits in memory meanwhile.
    muted_until: Option<Instant>,
    reading: Option<Progress>,
    /// The reader waited for memory at the last look at the clock.
    starved: bool,
    writing: Option<Progress>,
    ended_at: Option<Instant>,
    counted: (u64, u64),
}

impl<'h, H: RequestHandler> Connection<'h, H> {
    /// A connection that was just accepted.
    pub fn new(
        handler: &'h H,
        context: &'h ConnectionContext,
        limits: ConnectionLimits,
        metrics: &'h ListenerMetrics,
        residency: Arc<Residency>,
    ) -> Self {
        Connection {
            handler,
            context,
            limits,
            metrics,
            reader: FrameReader::new(context.budget.clone(), limits.frame_bytes_max),
            admitting: None,
            writer: ResponseWriter::new(context.budget.clone(), residency),
            in_flight: VecDeque::new(),
            ending: None,
            last_active: Instant::now(),
            muted_until: None,
            reading: None,
            starved: false,
            writing: None,
            ended_at: None,
            counted: (0, 0),
        }
    }

    /// Reads no further frame; the connection ends when all requests in flight are answered.
    pub fn drain(&mut self) {
        self.end(Closed::Shutdown);
    }

    fn end(&mut self, why: Closed) {
        self.ending.get_or_insert(why);
        self.ended_at.get_or_insert_with(Instant::now);
        self.reading = None;
        self.admitting = None;
    }

    /// Goes on as far as possible; ready when the connection is to be closed.
    pub fn poll<T: Transport>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<Closed> {
        let end = self.poll_steps(cx, io);
        self.count_bytes();
        end
    }

    fn poll_steps<T: Transport>(&mut self, cx: &mut Context<'_>, io: &mut T) -> Poll<Closed> {
        self.unmute();
        let mut mute = Duration::ZERO;
        for request in &mut self.in_flight {
            mute = mute.max(request.poll(cx, &self.context.budget));
        }
        self.mute(mute);
        loop {
            let blocked = self.read(cx, io);
            self.retire();
            match self.writer.poll_write(cx, io) {
                Poll::Ready(Err(e)) => return Poll::Ready(e.into()),
                Poll::Ready(Ok(())) if self.in_flight.is_empty() => {
                    if let Some(why) = self.ending.take() {
                        return Poll::Ready(why);
                    }
                }
                _ => {}
            }
            // Reading stopped at a limit of ours that the write has lifted: nobody else would wake us.
            if blocked && self.may_read() {
                continue;
            }
            return Poll::Pending;
        }
    }

    fn may_read(&self) -> bool {
        self.ending.is_none()
            && (self.reader.in_body()
                || self.muted_until.is_none()
                    && self.in_flight.len() < self.limits.in_flight_max
                    && self.unwritten() <= UNWRITTEN_MAX)
    }

    /// Bytes in memory of all responses that there are, those behind a request that still runs, too.
    fn unwritten(&self) -> usize {
        self.writer.memory() + self.in_flight.iter().map(|request| request.held).sum::<usize>()
    }

    /// Reads no further request for a while. Being silent meanwhile is not being idle.
    fn mute(&mut self, time: Duration) {
        if time > Duration::ZERO {
            let until = Instant::now() + time.min(self.limits.idle_max);
            self.muted_until = Some(self.muted_until.map_or(until, |other| other.max(until)));
        }
    }

    fn unmute(&mut self) {
        if let Some(until) = self.muted_until
            && Instant::now() >= until
        {
            self.muted_until = None;
            self.last_active = self.last_active.max(until);
        }
    }

    /// Reads and starts requests; true when it stopped at a limit, false when it waits for bytes or budget.
    fn read<T: Transport>(&mut self, cx: &mut Context<'_>, io: &mut T) -> bool {
        loop {
            if let Some(admitting) = &mut self.admitting {
                if admitting.memory.poll_grow(cx, admitting.needed).is_pending() {
                    return false;
                }
                let Admitting { frame, needed, memory } = self.admitting.take().expect("it was just seen");
                self.start(cx, if needed == 0 { frame } else { frame.with_memory(memory) });
                continue;
            }
            if !self.may_read() {
                return true;
            }
            match self.reader.poll_frame(cx, io) {
                Poll::Pending => {
                    if self.reading.is_none() && self.reader.in_frame() {
                        self.reading = Some(Progress::start(Instant::now(), self.reader.received()));
                    }
                    return false;
                }
                Poll::Ready(Ok(Some(frame))) => self.admit(cx, frame),
                Poll::Ready(Ok(None)) => self.end(Closed::ByClient),
                Poll::Ready(Err(e)) => self.end(e.into()),
            }
        }
    }

    /// Lines a frame up for its working memory.
    fn admit(&mut self, cx: &mut Context<'_>, frame: Frame) {
        self.reading = None;
        let Some(needed) = self.handler.memory_needed(self.context, &frame) else {
            let tag = self.metrics.request(&frame);
            let state = State::Done(Outcome::Close);
            self.in_flight.push_back(InFlight { state, tag, started: Instant::now(), held: 0 });
            return self.retire();
        };
        let (budget, share) = (&self.context.budget, Share::of_work(frame.len()));
        if needed == 0 && !budget.is_exceeded(share) {
            return self.start(cx, frame);
        }
        let memory = budget.empty(share);
        self.admitting = Some(Admitting { frame, needed, memory });
    }

    fn start(&mut self, cx: &mut Context<'_>, frame: Frame) {
        let started = Instant::now();
        self.last_active = started;
        let tag = self.metrics.request(&frame);
        let state = State::Running(Box::pin(self.handler.handle(self.context, frame)));
        let mut request = InFlight { state, tag, started, held: 0 };
        // The step that must happen in order happens here, before the next frame is looked at.
        let mute = request.poll(cx, &self.context.budget);
        self.in_flight.push_back(request);
        self.mute(mute);
        self.retire();
    }

    /// Hands finished requests to the writer, up to the first one that is not.
    fn retire(&mut self) {
        while let Some(InFlight { state: State::Done(_), .. }) = self.in_flight.front() {
            let Some(InFlight { state: State::Done(outcome), tag, started, .. }) = self.in_flight.pop_front()
            else {
                unreachable!("the front was just seen");
            };
            let now = Instant::now();
            self.last_active = now;
            let errors = match &outcome {
                Outcome::Respond(response) => &response.errors[..],
                Outcome::Silent { .. } | Outcome::Close => &[],
            };
            self.metrics.handled(tag, now - started, errors);
            match outcome {
                Outcome::Respond(response) => self.writer.push(response),
                Outcome::Silent { .. } => {}
                Outcome::Close => {
                    // Requests behind it are not answered.
                    self.in_flight.clear();
                    self.ending = None;
                    self.end(Closed::ByHandler);
                }
            }
        }
    }

    fn count_bytes(&mut self) {
        let (received, written) = (self.reader.received(), self.writer.written());
        self.metrics.request_bytes.inc_by(received - self.counted.0);
        self.metrics.response_bytes.inc_by(written - self.counted.1);
        self.metrics.cold_chunks.inc_by(self.writer.take_cold_chunks());
        self.counted = (received, written);
    }

    /// Looks at the clock, after `poll` was pending: when to look again, or why the connection is too slow.
    pub fn check_time(&mut self) -> Result<Instant, Closed> {
        let now = Instant::now();
        let pace = |timeout: Duration| Pace { timeout, rate_min: self.limits.rate_min };
        let contended =
            (self.reading.is_some() || !self.writer.is_empty()) && self.context.budget.is_contended();
        let mut next = now + self.limits.idle_max;
        if let Some(until) = self.muted_until {
            next = next.min(until);
            if !self.reader.in_body() {
                // Of a size that is half read: it is the broker that does not read on.
                self.reading = None;
            }
        }
        let was_starved = std::mem::replace(&mut self.starved, self.reader.waits_for_memory());
        if let Some(reading) = &mut self.reading {
            if self.starved || was_starved {
                reading.excuse(now, self.reader.received());
            }
            let again =
                reading.check(now, self.reader.received(), &pace(self.limits.read_timeout), contended);
            next = next.min(again.ok_or(Closed::SlowRequest)?);
        }
        if self.writer.is_empty() {
            self.writing = None;
        } else {
            let writing = self.writing.get_or_insert_with(|| Progress::start(now, self.writer.written()));
            let again =
                writing.check(now, self.writer.written(), &pace(self.limits.write_timeout), contended);
            next = next.min(again.ok_or(Closed::SlowReader)?);
        }
        if let (Some(ended_at), Some(Closed::ByClient | Closed::Read(_))) = (self.ended_at, &self.ending)
            && !self.in_flight.is_empty()
        {
            let until = ended_at + self.limits.linger;
            if now >= until {
                return Err(Closed::Lingered);
            }
            next = next.min(until);
        }
        if self.in_flight.is_empty()
            && self.writer.is_empty()
            && self.reading.is_none()
            && self.muted_until.is_none()
        {
            let until = self.last_active + self.limits.idle_max;
            if now >= until {
                return Err(Closed::Idle);
            }
            next = next.min(until);
        }
        Ok(next)
    }
}

impl InFlight<'_> {
    /// Goes on with it. A response is charged as soon as it is there, whatever still stands before it, and from then on the
    /// connection is muted for the time returned.
    fn poll(&mut self, cx: &mut Context<'_>, budget: &Budget) -> Duration {
        let State::Running(future) = &mut self.state else { return Duration::ZERO };
        let Poll::Ready(mut outcome) = future.as_mut().poll(cx) else { return Duration::ZERO };
        let mute = match &mut outcome {
            Outcome::Respond(response) => {
                response.charge(budget);
                self.held = response.memory_len();
                response.mute
            }
            Outcome::Silent { mute } => *mute,
            Outcome::Close => Duration::ZERO,
        };
        self.state = State::Done(outcome);
        mute
    }
}
