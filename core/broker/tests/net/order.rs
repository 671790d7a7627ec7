//! Requests of one connection start in order and are answered in order.

use crate::fixture::{Ask, Obedient, framed, settings, soon, start};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn responses_leave_in_request_order_whatever_finishes_first() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    for (correlation, gate) in [(1, 3), (2, 2), (3, 1)] {
        client.ask(correlation, &Ask::Wait(gate)).await;
    }
    client.ask(4, &Ask::Silent(0)).await;
    client.ask(5, &Ask::Echo(b"last".to_vec())).await;
    soon(server.handler.until_started(5)).await;
    for gate in [1, 2] {
        server.handler.open(gate);
    }
    let mut nothing = [0];
    assert_eq!(
        client.stream.try_read(&mut nothing).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "the first request is not answered yet"
    );
    server.handler.open(3);
    for expected in [(1, vec![]), (2, vec![]), (3, vec![]), (5, b"last".to_vec())] {
        assert_eq!(soon(client.answer()).await.unwrap(), expected);
    }
    soon(server.stop()).await;
}

#[tokio::test]
async fn handlers_take_their_first_step_in_the_order_of_arrival() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    let requests: Vec<u8> = (0..500).flat_map(|n| framed(&Ask::Wait(n % 7).body(n))).collect();
    client.stream.write_all(&requests).await.unwrap();
    for gate in 0..7 {
        server.handler.open(gate);
    }
    for n in 0..500 {
        assert_eq!(soon(client.answer()).await.unwrap(), (n, vec![]));
    }
    assert_eq!(*server.handler.started.lock(), (0..500).collect::<Vec<_>>());
    soon(server.stop()).await;
}

#[tokio::test]
async fn no_more_than_the_limit_are_in_flight() {
    let mut settings = settings();
    settings.connection.in_flight_max = 3;
    let server = start(settings, Obedient::default());
    let mut client = server.connect().await;
    for n in 0..5 {
        client.ask(n, &Ask::Wait(n)).await;
    }
    soon(server.handler.until_started(3)).await;
    let mut other = server.connect().await;
    other.ask(100, &Ask::Echo(vec![])).await;
    soon(other.answer()).await.unwrap();
    assert_eq!(server.handler.started.lock()[..], [0, 1, 2, 100]);
    server.handler.open(0);
    assert_eq!(soon(client.answer()).await.unwrap().0, 0);
    assert_eq!(soon(server.handler.until_started(5)).await[4], 3);
    for gate in 1..5 {
        server.handler.open(gate);
        assert_eq!(soon(client.answer()).await.unwrap().0, gate);
    }
    soon(server.stop()).await;
}

#[tokio::test]
async fn requests_are_counted_by_kind_and_version() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Echo(vec![])).await;
    soon(client.answer()).await.unwrap();
    let mut unknown = Ask::Echo(vec![]).body(2);
    unknown[..4].copy_from_slice(&[0x7f, 0xff, 0, 0]);
    client.stream.write_all(&framed(&unknown)).await.unwrap();
    soon(client.answer()).await.unwrap();
    let known = r#"buslane_requests_total{listener="test",api="ApiVersions",version="3"}"#;
    assert_eq!(server.metric(known), Some(1.0));
    let unknown = r#"buslane_requests_total{listener="test",api="unknown",version="unknown"}"#;
    assert_eq!(server.metric(unknown), Some(1.0));
    assert_eq!(server.metric(r#"buslane_request_bytes_total{listener="test"}"#), Some(26.0));
    assert_eq!(server.metric(r#"buslane_response_bytes_total{listener="test"}"#), Some(16.0));
    let seconds = r#"buslane_request_handle_seconds_count{listener="test",api="ApiVersions"}"#;
    assert_eq!(server.metric(seconds), Some(1.0));
    soon(server.stop()).await;
}
