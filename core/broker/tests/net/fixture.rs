//! A handler that does what the request's bytes say, and a client of raw sockets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use buslane_broker::metrics::{NetMetrics, registry, text};
use buslane_broker::net::{
    Budget, ConnectionContext, Frame, ListenerSettings, Outcome, Piece, RequestHandler, Response, Server,
};
use buslane_log::fs::{Fs, FsFile, OpenMode};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// A wait in a test that is lost when it takes longer: real time.
pub const LONG: Duration = Duration::from_secs(20);

/// What a request asks the handler to do. On the wire: key, version, correlation id (Kafka's first eight bytes), a
/// letter, its argument.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The bytes come back.
    Echo(Vec<u8>),
    /// An empty answer, after the gate of that number is opened.
    Wait(u32),
    /// The same, with that many bytes more in the request.
    HeavyWait(u32, usize),
    /// The bytes come back, once there is so much memory for it; with `u32::MAX` there never is.
    Needs(u32, Vec<u8>),
    /// That many bytes from memory.
    Large(u32),
    /// Bytes from a file of the handler's: position, length.
    File(u64, u32),
    /// No answer, and the connection muted for so many milliseconds.
    Silent(u32),
    /// An empty answer after the gate is opened, and the connection muted for so many milliseconds.
    Mute(u32, u32),
    /// No answer, connection closed.
    Close,
    /// A panic.
    Panic,
}

impl Ask {
    /// The frame without its size.
    pub fn body(&self, correlation: u32) -> Vec<u8> {
        let mut body = vec![0, 18, 0, 3];
        body.extend(correlation.to_be_bytes());
        let (letter, argument) = match self {
            Ask::Echo(bytes) => (b'e', bytes.clone()),
            Ask::Wait(gate) => (b'w', gate.to_be_bytes().to_vec()),
            Ask::HeavyWait(gate, len) => (b'w', [&gate.to_be_bytes()[..], &vec![0; *len]].concat()),
            Ask::Needs(bytes, echo) => (b'n', [&bytes.to_be_bytes()[..], echo].concat()),
            Ask::Large(len) => (b'l', len.to_be_bytes().to_vec()),
            Ask::File(position, len) => (b'f', [&position.to_be_bytes()[..], &len.to_be_bytes()].concat()),
            Ask::Silent(mute_ms) => (b's', mute_ms.to_be_bytes().to_vec()),
            Ask::Mute(gate, mute_ms) => (b'm', [gate.to_be_bytes(), mute_ms.to_be_bytes()].concat()),
            Ask::Close => (b'c', vec![]),
            Ask::Panic => (b'p', vec![]),
        };
        body.push(letter);
        body.extend(argument);
        body
    }
}

/// Puts the size before a frame.
pub fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

#[derive(Default)]
struct Gates {
    open: Vec<u32>,
    waiting: HashMap<u32, Vec<oneshot::Sender<()>>>,
}

/// Does what it is asked to do.
#[derive(Default)]
pub struct Obedient {
    /// Correlation ids in the order in which handling started.
    pub started: Mutex<Vec<u32>>,
    /// Tells of every start.
    pub start: Notify,
    /// Connections by id, as handlers saw them.
    pub peers: Mutex<Vec<(u64, SocketAddr)>>,
    /// For how long connections are held back.
    pub hold: Mutex<Duration>,
    gates: Mutex<Gates>,
    file: Option<Arc<dyn FsFile>>,
}

impl Obedient {
    /// One that answers [`Ask::File`] from this file.
    pub fn with_file(path: &Path) -> Obedient {
        let file = buslane_log::disk::Disk.open(path, OpenMode::ReadWrite).unwrap();
        Obedient { file: Some(file), ..Obedient::default() }
    }

    /// Lets requests that wait for the gate go on.
    pub fn open(&self, gate: u32) {
        let mut gates = self.gates.lock();
        gates.open.push(gate);
        for waiting in gates.waiting.remove(&gate).unwrap_or_default() {
            let _ = waiting.send(());
        }
    }

    /// Waits until that many requests have been started, and returns their correlation ids.
    pub async fn until_started(&self, count: usize) -> Vec<u32> {
        loop {
            let told = self.start.notified();
            let started = self.started.lock().clone();
            if started.len() >= count {
                return started;
            }
            told.await;
        }
    }

    fn gate(&self, gate: u32) -> Option<oneshot::Receiver<()>> {
        let mut gates = self.gates.lock();
        (!gates.open.contains(&gate)).then(|| {
            let (opened, waits) = oneshot::channel();
            gates.waiting.entry(gate).or_default().push(opened);
            waits
        })
    }
}

impl RequestHandler for Obedient {
    fn connecting(&self, _peer: IpAddr) -> Duration {
        *self.hold.lock()
    }

    fn memory_needed(&self, _connection: &ConnectionContext, frame: &Frame) -> Option<usize> {
        let needed = match frame.get(8)? {
            b'n' => u32::from_be_bytes(frame[9..13].try_into().unwrap()),
            _ => 0,
        };
        (needed != u32::MAX).then_some(needed as usize)
    }

    async fn handle(&self, connection: &ConnectionContext, frame: Frame) -> Outcome {
        let Some((head, argument)) = frame.split_at_checked(9) else { return Outcome::Close };
        let correlation = u32::from_be_bytes(head[4..8].try_into().unwrap());
        self.started.lock().push(correlation);
        self.peers.lock().push((connection.id, connection.peer));
        self.start.notify_waiters();
        let number = || u32::from_be_bytes(argument[..4].try_into().unwrap());
        let answer =
            |body: &[u8]| Response::from_bytes(framed(&[&correlation.to_be_bytes()[..], body].concat()));
        match head[8] {
            b'e' => Outcome::Respond(answer(argument)),
            b'n' => Outcome::Respond(answer(&argument[4..])),
            b'w' => {
                if let Some(gate) = self.gate(number()) {
                    gate.await.unwrap();
                }
                Outcome::Respond(answer(&[]))
            }
            b'l' => Outcome::Respond(answer(&vec![b'l'; number() as usize])),
            b'f' => {
                let position = u64::from_be_bytes(argument[..8].try_into().unwrap());
                let len = u32::from_be_bytes(argument[8..12].try_into().unwrap());
                let file = self.file.clone().unwrap();
                let head = [&(len + 4 + 1).to_be_bytes()[..], &correlation.to_be_bytes()].concat();
                let tail = bytes::Bytes::from_static(&[0]);
                let file = Piece::File { file, position, len };
                Outcome::Respond(Response::from_pieces(vec![
                    Piece::Bytes(head.into()),
                    file,
                    Piece::Bytes(tail),
                ]))
            }
            b's' => Outcome::Silent { mute: Duration::from_millis(number().into()) },
            b'm' => {
                if let Some(gate) = self.gate(number()) {
                    gate.await.unwrap();
                }
                let mute_ms = u32::from_be_bytes(argument[4..8].try_into().unwrap());
                Outcome::Respond(answer(&[]).muting(Duration::from_millis(mute_ms.into())))
            }
            b'p' => panic!("asked to"),
            _ => Outcome::Close,
        }
    }
}

/// A server that runs until it is told to stop.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its budget.
    pub budget: Budget,
    /// Its handler.
    pub handler: Arc<Obedient>,
    registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Default settings on a free port.
pub fn settings() -> ListenerSettings {
    ListenerSettings::new("test", "127.0.0.1:0".parse().unwrap())
}

/// Starts a server with a large budget.
pub fn start(settings: ListenerSettings, handler: Obedient) -> Running {
    let budget = Budget::new(1 << 30, settings.connection.frame_bytes_max);
    start_with(settings, budget, handler)
}

/// Starts a server.
pub fn start_with(settings: ListenerSettings, budget: Budget, handler: Obedient) -> Running {
    let handler = Arc::new(handler);
    let mut registry = registry();
    let metrics = NetMetrics::register(&mut registry);
    let (server, address) = Server::bind(settings, budget.clone(), handler.clone(), &metrics).unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    Running { address, budget, handler, registry, stop: Some(stop), task }
}

impl Running {
    /// A connection to it.
    pub async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// The value of one line of the metrics: name and labels, as they stand there.
    pub fn metric(&self, line: &str) -> Option<f64> {
        let text = text(&self.registry);
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ').map(str::to_owned));
        value.map(|value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub async fn until_metric(&self, line: &str, value: f64) {
        while self.metric(line) != Some(value) {
            tokio::task::yield_now().await;
        }
    }

    /// Tells it to stop.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it and waits for its end.
    pub async fn stop(mut self) {
        self.begin_stop();
        self.task.await.unwrap();
    }
}

/// A client of raw bytes.
pub struct Client {
    /// The socket.
    pub stream: TcpStream,
}

impl Client {
    /// Sends a request.
    pub async fn ask(&mut self, correlation: u32, ask: &Ask) {
        self.stream.write_all(&framed(&ask.body(correlation))).await.unwrap();
    }

    /// Reads a response: correlation id and the rest. Fails when the server closes.
    pub async fn answer(&mut self) -> std::io::Result<(u32, Vec<u8>)> {
        let size = self.stream.read_u32().await?;
        let mut body = vec![0; size as usize];
        self.stream.read_exact(&mut body).await?;
        let rest = body.split_off(4);
        Ok((u32::from_be_bytes(body.try_into().unwrap()), rest))
    }

    /// Waits until the server closes, and returns what it sent before.
    pub async fn until_closed(&mut self) -> Vec<u8> {
        let mut rest = vec![];
        // Unread bytes of ours make it a reset.
        let _ = self.stream.read_to_end(&mut rest).await;
        rest
    }
}

/// Fails a test that hangs in virtual time.
pub async fn eventually<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(86_400), what).await.expect("it took too long")
}

/// Fails a test that hangs.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, what).await.expect("it took too long")
}
