//! Connections that read no request for a while, because their client used more than it may (KIP-219). In virtual time.

use std::time::Duration;

use crate::fixture::{Ask, Client, Obedient, Running, eventually, framed, settings, start};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

/// A server whose gate 0 is open, and a connection.
async fn connected() -> (Running, Client) {
    let server = start(settings(), Obedient::default());
    server.handler.open(0);
    let client = server.connect().await;
    (server, client)
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_at_once_and_the_next_request_is_served_after_the_time() {
    let (server, mut client) = connected().await;
    let begun = Instant::now();
    client.ask(1, &Ask::Mute(0, 5_000)).await;
    assert_eq!(eventually(client.answer()).await.unwrap().0, 1);
    assert_eq!(begun.elapsed().as_secs(), 0);
    client.ask(2, &Ask::Echo(vec![])).await;
    assert_eq!(eventually(client.answer()).await.unwrap().0, 2);
    assert_eq!(begun.elapsed().as_secs(), 5);
    client.ask(3, &Ask::Echo(vec![])).await;
    assert_eq!(eventually(client.answer()).await.unwrap().0, 3);
    assert_eq!(begun.elapsed().as_secs(), 5, "it is over");
    eventually(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_mutes_too_and_the_longest_time_counts() {
    let (server, mut client) = connected().await;
    let begun = Instant::now();
    let together: Vec<u8> = [(1, Ask::Mute(1, 7_000)), (2, Ask::Echo(vec![])), (3, Ask::Silent(3_000))]
        .iter()
        .flat_map(|(correlation, ask)| framed(&ask.body(*correlation)))
        .collect();
    // All are being served when the first one is answered.
    client.stream.write_all(&together).await.unwrap();
    eventually(server.handler.until_started(3)).await;
    server.handler.open(1);
    for answered in [1, 2] {
        assert_eq!(eventually(client.answer()).await.unwrap().0, answered);
    }
    client.ask(4, &Ask::Silent(3_000)).await;
    client.ask(5, &Ask::Echo(vec![])).await;
    assert_eq!(eventually(client.answer()).await.unwrap().0, 5);
    assert_eq!(begun.elapsed().as_secs(), 10, "seven seconds, and then three");
    eventually(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_one_that_waits_mutes_at_once() {
    let (server, mut client) = connected().await;
    let begun = Instant::now();
    client.ask(1, &Ask::Wait(1)).await;
    client.ask(2, &Ask::Mute(0, 3_000)).await;
    client.ask(3, &Ask::Echo(vec![])).await;
    eventually(server.handler.until_started(3)).await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    server.handler.open(1);
    for answered in [1, 2, 3] {
        assert_eq!(eventually(client.answer()).await.unwrap().0, answered);
    }
    assert_eq!(begun.elapsed().as_secs(), 3);
    eventually(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_half_read_is_served_and_a_muted_connection_holds_no_memory() {
    let (server, mut client) = connected().await;
    let begun = Instant::now();
    client.ask(1, &Ask::Mute(1, 20_000)).await;
    let half_read = framed(&Ask::Echo(vec![7; 200_000]).body(2));
    client.stream.write_all(&half_read[..100_000]).await.unwrap();
    while server.budget.usage().used < 100_000 {
        tokio::task::yield_now().await;
    }
    server.handler.open(1);
    assert_eq!(eventually(client.answer()).await.unwrap().0, 1);
    client.stream.write_all(&half_read[100_000..]).await.unwrap();
    assert_eq!(eventually(client.answer()).await.unwrap().0, 2);
    assert_eq!(begun.elapsed().as_secs(), 0);
    client.stream.write_all(&framed(&Ask::Echo(vec![7; 20_000]).body(3))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(server.budget.usage().used, 0, "nothing of the third request is read");
    assert_eq!(eventually(client.answer()).await.unwrap().0, 3);
    assert_eq!(begun.elapsed().as_secs(), 20);
    eventually(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn being_muted_is_neither_being_idle_nor_being_slow() {
    let (server, mut client) = connected().await;
    let begun = Instant::now();
    // A request, and a part of the next one's size, of which the rest comes long after the time for a request.
    let mute = framed(&Ask::Mute(0, 590_000).body(1));
    let next = framed(&Ask::Echo(vec![]).body(2));
    client.stream.write_all(&[&mute, &next[..2]].concat()).await.unwrap();
    assert_eq!(eventually(client.answer()).await.unwrap().0, 1);
    tokio::time::sleep(Duration::from_secs(500)).await;
    client.stream.write_all(&next[2..]).await.unwrap();
    assert_eq!(eventually(client.answer()).await.unwrap().0, 2);
    assert_eq!(begun.elapsed().as_secs(), 590);
    // No longer than it may be idle, and after that it is as idle as any.
    client.ask(3, &Ask::Mute(0, 5_000_000)).await;
    assert_eq!(eventually(client.answer()).await.unwrap().0, 3);
    assert_eq!(eventually(client.until_closed()).await, b"");
    assert_eq!(begun.elapsed().as_secs(), 590 + 600 + 600);
    eventually(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_does_not_wait_for_muted_connections() {
    let (server, mut client) = connected().await;
    let begun = Instant::now();
    client.ask(1, &Ask::Mute(0, 500_000)).await;
    assert_eq!(eventually(client.answer()).await.unwrap().0, 1);
    eventually(server.stop()).await;
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_too_many_is_held_unread_and_closed() {
    let server = start(settings(), Obedient::default());
    let mut first = server.connect().await;
    first.ask(1, &Ask::Echo(vec![])).await;
    eventually(first.answer()).await.unwrap();
    let begun = Instant::now();
    *server.handler.hold.lock() = Duration::from_secs(40);
    let mut held = server.connect().await;
    held.ask(2, &Ask::Echo(vec![])).await;
    assert_eq!(eventually(held.until_closed()).await, b"");
    assert_eq!(begun.elapsed().as_secs(), 40);
    // Whom it is held back from is served as before, and no shutdown waits for it.
    first.ask(3, &Ask::Echo(vec![])).await;
    eventually(first.answer()).await.unwrap();
    assert_eq!(server.handler.started.lock()[..], [1, 3]);
    let _held = server.connect().await;
    let refused = r#"buslane_connections_rejected_total{listener="test",limit="connection_creation_rate"}"#;
    eventually(server.until_metric(refused, 2.0)).await;
    eventually(server.stop()).await;
    assert_eq!(begun.elapsed().as_secs(), 40);
}
