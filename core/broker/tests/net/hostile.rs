//! Bytes that are no requests, and clients that are too slow, cost their connection and little memory.

use std::time::Duration;

use crate::fixture::{Ask, Obedient, eventually, framed, settings, soon, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

fn closed(reason: &str) -> String {
    format!(r#"buslane_connections_closed_total{{listener="test",reason="{reason}"}}"#)
}

#[tokio::test]
async fn a_size_alone_reserves_nothing_and_memory_follows_the_bytes() {
    let server = start(settings(), Obedient::default());
    let mut clients = vec![];
    for _ in 0..100 {
        let mut client = server.connect().await;
        client.stream.write_all(&(100u32 << 20).to_be_bytes()).await.unwrap();
        clients.push(client);
    }
    let received = r#"buslane_request_bytes_total{listener="test"}"#;
    soon(server.until_metric(received, 400.0)).await;
    assert!(server.budget.usage().used <= 100 * 512, "{:?}", server.budget);
    for client in &mut clients {
        client.stream.write_all(&vec![0; 70_000]).await.unwrap();
    }
    soon(server.until_metric(received, 7_000_400.0)).await;
    assert!(server.budget.usage().used <= 2 * 7_000_000, "{:?}", server.budget);
    drop(clients);
    soon(server.until_metric(&closed("bad_frame"), 100.0)).await;
    assert_eq!(server.budget.usage().used, 0);
    soon(server.stop()).await;
}

#[tokio::test]
async fn sizes_out_of_range_close_the_connection_after_what_came_before() {
    let mut settings = settings();
    settings.connection.frame_bytes_max = 1_000;
    let server = start(settings, Obedient::default());
    for size in [1_001, i32::MAX, -1, i32::MIN] {
        let mut client = server.connect().await;
        client.ask(1, &Ask::Wait(1)).await;
        client.stream.write_all(&size.to_be_bytes()).await.unwrap();
        soon(server.handler.until_started(1)).await;
        server.handler.open(1);
        assert_eq!(soon(client.answer()).await.unwrap(), (1, vec![]));
        assert_eq!(soon(client.until_closed()).await, b"");
    }
    soon(server.until_metric(&closed("bad_frame"), 4.0)).await;
    let mut client = server.connect().await;
    let longest = Ask::Echo(vec![7; 1_000 - 9]);
    client.ask(2, &longest).await;
    assert_eq!(soon(client.answer()).await.unwrap(), (2, vec![7; 991]));
    soon(server.stop()).await;
}

#[tokio::test]
async fn a_request_in_single_bytes_is_served_and_so_is_one_that_overlaps_the_next() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    let requests: Vec<u8> = (0..20).flat_map(|n| framed(&Ask::Echo(vec![n; 40]).body(n.into()))).collect();
    for byte in &requests {
        client.stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    for n in 0..20 {
        assert_eq!(soon(client.answer()).await.unwrap(), (n.into(), vec![n; 40]));
    }
    for chunk in [2, 3, 51, 52, 53, 54, 55, 56, 57, 58, 101, 512, 600] {
        for part in requests.chunks(chunk) {
            client.stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        for n in 0..20 {
            assert_eq!(soon(client.answer()).await.unwrap(), (n.into(), vec![n; 40]));
        }
    }
    soon(server.stop()).await;
}

#[tokio::test]
async fn frames_of_every_length_come_whole() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    let pattern: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let (mut reader, mut writer) = client.stream.split();
    let lengths: Vec<usize> = (0..300)
        .chain([490, 499, 500, 503, 507, 508, 512, 65_526, 65_527, 65_528, 131_072, 299_999])
        .collect();
    let sends = async {
        for (n, len) in lengths.iter().enumerate() {
            let request = framed(&Ask::Echo(pattern[..*len].to_vec()).body(n as u32));
            writer.write_all(&request).await.unwrap();
        }
    };
    let receives = async {
        for (n, len) in lengths.iter().enumerate() {
            let size = reader.read_u32().await.unwrap() as usize;
            let mut body = vec![0; size];
            reader.read_exact(&mut body).await.unwrap();
            assert_eq!(body[..4], (n as u32).to_be_bytes());
            assert!(body[4..] == pattern[..*len], "echo of {len} bytes");
        }
    };
    soon(async { tokio::join!(sends, receives) }).await;
    soon(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_to_its_end_is_given_up() {
    let server = start(settings(), Obedient::default());
    for half in [&framed(&[0; 100])[..50], &[0, 0], &[0, 0, 0, 9]] {
        let mut client = server.connect().await;
        let begun = Instant::now();
        client.stream.write_all(half).await.unwrap();
        assert_eq!(eventually(client.until_closed()).await, b"");
        let waited = begun.elapsed();
        assert!((30..36).contains(&waited.as_secs()), "{half:?} was given up after {waited:?}");
    }
    eventually(server.until_metric(&closed("slow_request"), 3.0)).await;
    eventually(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_byte_now_and_then_is_not_enough() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    let request = framed(&Ask::Echo(vec![0; 1_000]).body(1));
    let mut sent = 0;
    for byte in &request {
        if client.stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sent += 1;
        sleep(Duration::from_millis(500)).await;
    }
    assert!((59..=64).contains(&sent), "{sent} bytes in half seconds");
    eventually(server.until_metric(&closed("slow_request"), 1.0)).await;
    eventually(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_request_over_a_thin_line_is_served() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    let request = framed(&Ask::Echo(vec![1; 5_000_000]).body(1));
    let begun = Instant::now();
    for part in request.chunks(100_000) {
        client.stream.write_all(part).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() > Duration::from_secs(45));
    assert_eq!(eventually(client.answer()).await.unwrap().1.len(), 5_000_000);
    eventually(server.stop()).await;
}

#[tokio::test]
async fn garbage_closes_its_connection_and_disturbs_nobody() {
    let server = start(settings(), Obedient::default());
    let mut normal = server.connect().await;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for n in 0..300 {
        let mut client = server.connect().await;
        let len = random() % 600;
        let mut garbage: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        if n % 2 == 0 && garbage.len() > 4 {
            // A size that fits, and garbage in the frame.
            let size = (garbage.len() as u32 - 4) / (1 + random() as u32 % 3);
            garbage[..4].copy_from_slice(&size.to_be_bytes());
        }
        // The server may be done with it before all is written.
        let _ = client.stream.write_all(&garbage).await;
        let _ = client.stream.shutdown().await;
        soon(client.until_closed()).await;
        normal.ask(n, &Ask::Echo(vec![1])).await;
        assert_eq!(soon(normal.answer()).await.unwrap(), (n, vec![1]));
    }
    soon(server.until_metric(r#"buslane_connections{listener="test"}"#, 1.0)).await;
    drop(normal);
    soon(server.until_metric(r#"buslane_connections{listener="test"}"#, 0.0)).await;
    assert_eq!(server.budget.usage().used, 0);
    soon(server.stop()).await;
}
