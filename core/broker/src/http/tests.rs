use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

async fn get(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn nothing_gathered() -> Box<Gathered> {
    Box::new(|| Box::pin(async { "# EOF\n".to_owned() }))
}

#[tokio::test]
async fn the_three_pages_and_the_host_check() {
    let mut registry = crate::metrics::registry();
    let metrics = crate::metrics::NetMetrics::register(&mut registry);
    metrics.listener("kafka", &crate::net::Budget::new(1 << 20, 1 << 10));
    let ready = Arc::new(AtomicBool::new(false));
    let seen = ready.clone();
    let readiness: Box<Readiness> = Box::new(move || match seen.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err("3 partitions recover".to_owned()),
    });
    let (server, address) =
        HttpServer::bind("127.0.0.1:0".parse().unwrap(), registry, nothing_gathered(), readiness)
            .await
            .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async move { drop(stopped.await) }));
    let local = format!("Host: {address}\r\n");

    assert_eq!(get(address, "/healthz", &local).await, (200, "alive\n".to_owned()));
    assert_eq!(get(address, "/readyz", &local).await, (503, "not ready: 3 partitions recover\n".to_owned()));
    ready.store(true, Ordering::SeqCst);
    assert_eq!(get(address, "/readyz", &local).await, (200, "ready\n".to_owned()));
    let (status, text) = get(address, "/metrics", &local).await;
    assert_eq!(status, 200);
    assert!(text.contains("\nbuslane_connections{listener=\"kafka\"} 0\n"), "{text}");
    assert!(text.contains("\nbuslane_memory_budget_bytes{listener=\"kafka\"} 1048576\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(get(address, "/", &local).await.0, 404);

    for host in ["", "Host: evil.example\r\n", "Host: localhost.evil.example:8080\r\n", "Host: \u{e9}\r\n"] {
        assert_eq!(get(address, "/metrics", host).await.0, 403, "{host:?}");
    }
    assert_eq!(get(address, "http://evil.example/metrics", &local).await.0, 403);
    assert_eq!(get(address, "/metrics", "Host: localhost\r\n").await.0, 200);

    drop(stop);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn half_a_request_does_not_hold_up_a_shutdown_and_ends_by_itself() {
    let registry = crate::metrics::registry();
    let listen = "127.0.0.1:0".parse().unwrap();
    let (server, address) =
        HttpServer::bind(listen, registry, nothing_gathered(), Box::new(|| Ok(()))).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async move { drop(stopped.await) }));
    let begun = tokio::time::Instant::now();
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
    let mut answer = vec![];
    let _ = half.read_to_end(&mut answer).await;
    assert_eq!(begun.elapsed().as_secs(), 60);
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: ").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = tokio::time::Instant::now();
    drop(stop);
    task.await.unwrap();
    assert!(begun.elapsed() <= SHUTDOWN_DEADLINE);
}
