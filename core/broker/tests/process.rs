//! What the listener costs the process: memory of idle connections, and running out of files.
//!
//! One test, since both measure things that belong to the whole process.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use buslane_broker::metrics::{NetMetrics, registry, text};
use buslane_broker::net::{
    Budget, ConnectionContext, Frame, ListenerSettings, Outcome, RequestHandler, Response, Server,
};
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The system's allocator, counting bytes.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came; the counter does not touch memory handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `memory` came from `alloc` with the same layout, which is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sends every request back.
struct Echo;

impl RequestHandler for Echo {
    async fn handle(&self, _: &ConnectionContext, frame: Frame) -> Outcome {
        Outcome::Respond(Response::from_bytes([&(frame.len() as u32).to_be_bytes()[..], &frame].concat()))
    }
}

async fn echo(client: &mut TcpStream, len: usize) {
    let mut request = vec![7; len];
    client.write_u32(len as u32).await.unwrap();
    client.write_all(&request).await.unwrap();
    assert_eq!(client.read_u32().await.unwrap(), len as u32);
    client.read_exact(&mut request).await.unwrap();
}

fn value(registry: &Registry, line: &str) -> f64 {
    let text = text(registry);
    text.lines()
        .find_map(|l| l.strip_prefix(line)?.strip_prefix(' '))
        .map_or(0.0, |value| value.parse().unwrap())
}

async fn until(what: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(tokio::time::Instant::now() < deadline, "it took too long");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn idle_connections_are_cheap_and_want_of_files_is_survived() {
    let mut registry = registry();
    let metrics = NetMetrics::register(&mut registry);
    let settings = ListenerSettings::new("test", "127.0.0.1:0".parse().unwrap());
    let budget = Budget::new(1 << 30, settings.connection.frame_bytes_max);
    let (server, address) = Server::bind(settings, budget.clone(), Arc::new(Echo), &metrics).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async { drop(stopped.await) }));
    let open = r#"buslane_connections{listener="test"}"#;

    // Idle connections: new ones, and ones that had a large request.
    let mut warm = TcpStream::connect(address).await.unwrap();
    echo(&mut warm, 300_000).await;
    let count = 400;
    let mut clients = Vec::with_capacity(count);
    let before_clients = ALLOCATED.load(Ordering::Relaxed);
    let mut one_client = 0;
    for n in 0..count {
        let before = ALLOCATED.load(Ordering::Relaxed);
        let client = TcpStream::connect(address).await.unwrap();
        if n == 0 {
            // Before the server's side of it has run: this test does not yield in between.
            one_client = ALLOCATED.load(Ordering::Relaxed) - before;
        }
        clients.push(client);
    }
    until(|| value(&registry, open) == count as f64 + 1.0).await;
    let fresh = (ALLOCATED.load(Ordering::Relaxed) - before_clients) / count;
    for client in &mut clients {
        echo(client, 100_000).await;
    }
    let used = (ALLOCATED.load(Ordering::Relaxed) - before_clients) / count;
    println!(
        "bytes an idle connection, both sides: {fresh} when new, {used} after a request; a client's side {one_client}"
    );
    assert!(fresh < 4_096, "{fresh} bytes a new connection");
    assert!(used < 6_144, "{used} bytes a connection after a request");
    assert_eq!(budget.usage().used, 0);
    clients.clear();
    until(|| value(&registry, open) == 1.0).await;

    // No file is left: connections wait in the backlog and are served when files come back.
    let limit = getrlimit(Resource::Nofile);
    let in_use = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(in_use + 4), ..limit }).unwrap();
    let mut hoard = vec![];
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    hoard.pop();
    // The last file is this side's of the connection; the server has none for its own.
    let mut client = TcpStream::connect(address).await.unwrap();
    until(|| value(&registry, r#"buslane_accept_errors_total{listener="test"}"#) >= 3.0).await;
    echo(&mut warm, 10).await;
    drop(hoard);
    echo(&mut client, 10).await;
    setrlimit(Resource::Nofile, limit).unwrap();

    drop(stop);
    task.await.unwrap();
}
