//! How connections begin and end, and how a server does.

use std::time::Duration;

use crate::fixture::{Ask, Obedient, eventually, settings, soon, start};
use buslane_broker::metrics::{NetMetrics, registry};
use buslane_broker::net::{ListenerSettings, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::time::Instant;

fn closed(reason: &str) -> String {
    format!(r#"buslane_connections_closed_total{{listener="test",reason="{reason}"}}"#)
}

fn rejected(limit: &str) -> String {
    format!(r#"buslane_connections_rejected_total{{listener="test",limit="{limit}"}}"#)
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_one_that_waits_for_an_answer_is_not() {
    let server = start(settings(), Obedient::default());
    let mut idle = server.connect().await;
    let mut used = server.connect().await;
    let mut waiting = server.connect().await;
    waiting.ask(1, &Ask::Wait(1)).await;
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(300)).await;
    used.ask(2, &Ask::Echo(vec![])).await;
    eventually(used.answer()).await.unwrap();
    assert_eq!(eventually(idle.until_closed()).await, b"");
    assert_eq!(begun.elapsed().as_secs(), 600);
    assert_eq!(eventually(used.until_closed()).await, b"");
    assert_eq!(begun.elapsed().as_secs(), 900);
    tokio::time::sleep(Duration::from_secs(5_000)).await;
    server.handler.open(1);
    assert_eq!(eventually(waiting.answer()).await.unwrap(), (1, vec![]));
    assert_eq!(server.metric(&closed("idle")), Some(2.0));
    eventually(server.stop()).await;
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_its_answers() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Wait(1)).await;
    client.ask(2, &Ask::Echo(b"x".to_vec())).await;
    client.stream.shutdown().await.unwrap();
    soon(server.handler.until_started(2)).await;
    server.handler.open(1);
    assert_eq!(soon(client.answer()).await.unwrap(), (1, vec![]));
    assert_eq!(soon(client.answer()).await.unwrap(), (2, b"x".to_vec()));
    assert_eq!(soon(client.until_closed()).await, b"");
    soon(server.until_metric(&closed("client"), 1.0)).await;
    soon(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_outlive_their_client_for_long() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Wait(1)).await;
    eventually(server.handler.until_started(1)).await;
    let begun = Instant::now();
    client.stream.shutdown().await.unwrap();
    assert_eq!(eventually(client.until_closed()).await, b"");
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(server.metric(&closed("lingered")), Some(1.0));
    eventually(server.stop()).await;
}

#[tokio::test]
async fn a_panic_costs_one_connection() {
    let server = start(settings(), Obedient::default());
    let mut careless = server.connect().await;
    let mut other = server.connect().await;
    careless.ask(1, &Ask::Echo(vec![])).await;
    soon(careless.answer()).await.unwrap();
    careless.ask(2, &Ask::Panic).await;
    assert_eq!(soon(careless.until_closed()).await, b"");
    soon(server.until_metric(&closed("panic"), 1.0)).await;
    other.ask(3, &Ask::Echo(vec![])).await;
    assert_eq!(soon(other.answer()).await.unwrap().0, 3);
    assert_eq!(server.metric(r#"buslane_connections{listener="test"}"#), Some(1.0));
    assert_eq!(server.budget.usage().used, 0);
    soon(server.stop()).await;
}

#[tokio::test]
async fn a_handler_can_close_after_all_that_came_before() {
    let server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Wait(1)).await;
    client.ask(2, &Ask::Close).await;
    client.ask(3, &Ask::Echo(vec![])).await;
    server.handler.open(1);
    assert_eq!(soon(client.answer()).await.unwrap(), (1, vec![]));
    assert_eq!(soon(client.until_closed()).await, b"");
    soon(server.until_metric(&closed("handler"), 1.0)).await;
    soon(server.stop()).await;
}

#[tokio::test]
async fn connections_are_limited_in_all_and_by_address() {
    let mut settings = settings();
    settings.connections_max = 3;
    settings.connections_per_address_max = 2;
    let server = start(settings, Obedient::default());
    let from = async |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        crate::fixture::Client { stream: socket.connect(server.address).await.unwrap() }
    };
    let mut first = from("127.0.0.1").await;
    let _second = from("127.0.0.1").await;
    assert_eq!(soon(from("127.0.0.1").await.until_closed()).await, b"");
    assert_eq!(server.metric(&rejected("connections_per_address")), Some(1.0));
    let _third = from("127.0.0.2").await;
    assert_eq!(soon(from("127.0.0.3").await.until_closed()).await, b"");
    assert_eq!(server.metric(&rejected("connections")), Some(1.0));
    first.ask(1, &Ask::Echo(vec![])).await;
    soon(first.answer()).await.unwrap();
    drop(first);
    soon(server.until_metric(&closed("client"), 1.0)).await;
    soon(server.until_metric(r#"buslane_connections{listener="test"}"#, 2.0)).await;
    let mut next = from("127.0.0.3").await;
    next.ask(2, &Ask::Echo(vec![])).await;
    assert_eq!(soon(next.answer()).await.unwrap().0, 2);
    soon(server.stop()).await;
}

#[tokio::test]
async fn a_shutdown_lets_requests_in_flight_finish_and_takes_no_more() {
    let mut server = start(settings(), Obedient::default());
    let mut busy = server.connect().await;
    let mut idle = server.connect().await;
    let mut half = server.connect().await;
    busy.ask(1, &Ask::Wait(1)).await;
    busy.ask(2, &Ask::Echo(b"second".to_vec())).await;
    idle.ask(3, &Ask::Echo(vec![])).await;
    soon(idle.answer()).await.unwrap();
    half.stream.write_all(&[0, 0, 1]).await.unwrap();
    soon(server.handler.until_started(3)).await;
    server.begin_stop();
    assert_eq!(soon(idle.until_closed()).await, b"");
    assert_eq!(soon(half.until_closed()).await, b"");
    // The listener is closed before any connection.
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
    // A request that comes now is not looked at.
    busy.ask(4, &Ask::Echo(vec![])).await;
    server.handler.open(1);
    assert_eq!(soon(busy.answer()).await.unwrap(), (1, vec![]));
    assert_eq!(soon(busy.answer()).await.unwrap(), (2, b"second".to_vec()));
    assert_eq!(soon(busy.until_closed()).await, b"");
    assert_eq!(server.handler.started.lock().len(), 3);
    soon(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_at_its_deadline_whatever_is_in_flight() {
    let mut server = start(settings(), Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Wait(1)).await;
    eventually(server.handler.until_started(1)).await;
    let begun = Instant::now();
    server.begin_stop();
    assert_eq!(eventually(client.until_closed()).await, b"");
    assert_eq!(begun.elapsed().as_secs(), 10);
    let budget = server.budget.clone();
    eventually(server.stop()).await;
    assert_eq!(budget.usage().used, 0);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = start(settings(), Obedient::default());
    let settings = ListenerSettings::new("second", server.address);
    let metrics = NetMetrics::register(&mut registry());
    let budget = server.budget.clone();
    let error = Server::bind(settings, budget, server.handler.clone(), &metrics).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("cannot listen on {}: Address already in use (os error 98)", server.address)
    );
    soon(server.stop()).await;
}
