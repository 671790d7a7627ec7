//! The memory budget over real connections: who waits, who passes, and that it always goes on.

use std::time::Duration;

use crate::fixture::{Ask, Obedient, eventually, framed, settings, soon, start_with};
use buslane_broker::net::{Budget, ListenerSettings, Share};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const MIB: usize = 1 << 20;

/// 16 MiB: 12 MiB ordinary, 2 MiB for small frames, 2 MiB for one large frame.
fn tight() -> (ListenerSettings, Budget) {
    let mut settings = settings();
    settings.connection.frame_bytes_max = 2 * MIB - 4;
    let budget = Budget::new(16 * MIB, settings.connection.frame_bytes_max);
    (settings, budget)
}

fn closed(reason: &str) -> String {
    format!(r#"buslane_connections_closed_total{{listener="test",reason="{reason}"}}"#)
}

#[tokio::test]
async fn answers_behind_a_request_that_waits_are_charged_and_stop_reading() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let mut client = server.connect().await;
    client.ask(0, &Ask::Wait(1)).await;
    for n in 1..=20 {
        client.ask(n, &Ask::Large(MIB as u32 - 1_000)).await;
    }
    // The one that waits, and as many as it takes to be above 1 MiB.
    soon(server.handler.until_started(3)).await;
    let mut other = server.connect().await;
    for n in 100..150 {
        other.ask(n, &Ask::Echo(vec![])).await;
        soon(other.answer()).await.unwrap();
    }
    assert_eq!(server.handler.started.lock().len(), 53, "no more of them are begun");
    let used = server.budget.usage().used;
    assert!((2 * MIB - 2_000..3 * MIB).contains(&used), "{used}");
    server.handler.open(1);
    for n in 0..=20 {
        assert_eq!(soon(client.answer()).await.unwrap().0, n);
    }
    soon(server.until_metric(r#"buslane_memory_budget_used_bytes{listener="test"}"#, 0.0)).await;
    soon(server.stop()).await;
}

#[tokio::test]
async fn over_budget_large_requests_wait_small_ones_pass_and_all_recover() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let mut bulk = vec![];
    for n in 0..12 {
        let mut client = server.connect().await;
        client.ask(n, &Ask::HeavyWait(1, MIB - 100)).await;
        soon(server.handler.until_started(n as usize + 1)).await;
        bulk.push(client);
    }
    let mut ticket = server.connect().await;
    ticket.ask(12, &Ask::HeavyWait(2, MIB)).await;
    soon(server.handler.until_started(13)).await;
    let mut late = server.connect().await;
    let waits = tokio::spawn(async move {
        late.ask(13, &Ask::HeavyWait(1, MIB)).await;
        late.answer().await.unwrap()
    });
    soon(server.until_metric(r#"buslane_memory_budget_waiting{listener="test"}"#, 1.0)).await;
    let used = server.budget.usage().used;
    assert!((12 * MIB..=14 * MIB).contains(&used), "{used}");
    let mut small = server.connect().await;
    for n in 100..200 {
        small.ask(n, &Ask::Echo(vec![0; 10_000])).await;
        assert_eq!(soon(small.answer()).await.unwrap().0, n);
    }
    assert_eq!(server.handler.started.lock().len(), 113, "the late one still waits");
    server.handler.open(2);
    assert_eq!(soon(ticket.answer()).await.unwrap().0, 12);
    soon(server.handler.until_started(114)).await;
    server.handler.open(1);
    assert_eq!(soon(waits).await.unwrap().0, 13);
    for (n, client) in bulk.iter_mut().enumerate() {
        assert_eq!(soon(client.answer()).await.unwrap().0, n as u32);
    }
    soon(server.until_metric(r#"buslane_memory_budget_used_bytes{listener="test"}"#, 0.0)).await;
    soon(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn half_read_requests_that_stall_are_dropped_while_others_wait() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let mut stalled = tokio::task::JoinSet::new();
    let received = r#"buslane_request_bytes_total{listener="test"}"#;
    let half = framed(&Ask::Echo(vec![0; 2 * MIB - 100]).body(0))[..MIB + MIB / 2].to_vec();
    let mut bytes = 0.0;
    // When one waits, another one has the ticket; it keeps it as long as it is allowed to.
    while server.budget.usage().waiting == 0 {
        let (mut client, half) = (server.connect().await, half.clone());
        bytes += half.len() as f64;
        stalled.spawn(async move {
            let _ = client.stream.write_all(&half).await;
            client.until_closed().await
        });
        while server.metric(received) != Some(bytes) && server.budget.usage().waiting == 0 {
            tokio::task::yield_now().await;
        }
    }
    let begun = Instant::now();
    let mut normal = server.connect().await;
    normal.ask(1, &Ask::Echo(vec![7; MIB])).await;
    assert_eq!(eventually(normal.answer()).await.unwrap().1.len(), MIB);
    assert!(begun.elapsed() < Duration::from_secs(15), "it waited {:?}", begun.elapsed());
    assert!(server.metric(&closed("slow_request")).is_some());
    while let Some(sent) = eventually(stalled.join_next()).await {
        assert_eq!(sent.unwrap(), b"");
    }
    eventually(server.until_metric(r#"buslane_connections{listener="test"}"#, 1.0)).await;
    assert_eq!(server.budget.usage().used, 0);
    eventually(server.stop()).await;
}

#[tokio::test]
async fn a_response_is_charged_until_it_is_written() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Large(30 << 20)).await;
    soon(server.handler.until_started(1)).await;
    assert!(server.budget.usage().used > 20 * MIB, "{:?}", server.budget);
    // Beyond the total even small requests wait.
    let mut other = server.connect().await;
    other.ask(2, &Ask::Echo(vec![1])).await;
    soon(server.until_metric(r#"buslane_memory_budget_waiting{listener="test"}"#, 1.0)).await;
    assert_eq!(soon(client.answer()).await.unwrap().1.len(), 30 << 20);
    assert_eq!(soon(other.answer()).await.unwrap(), (2, vec![1]));
    soon(server.until_metric(r#"buslane_memory_budget_used_bytes{listener="test"}"#, 0.0)).await;
    soon(server.stop()).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_responses_is_closed() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Large(30 << 20)).await;
    let begun = Instant::now();
    eventually(async {
        while server.metric(&closed("slow_reader")) != Some(1.0) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    // Thirty seconds, and the time that what fits into the sockets' buffers takes at the lowest rate.
    assert!((30..200).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(server.budget.usage().used, 0);
    eventually(server.stop()).await;
}

#[tokio::test]
async fn no_request_is_started_while_many_response_bytes_wait() {
    let server = crate::fixture::start(settings(), Obedient::default());
    let mut client = server.connect().await;
    let requests: Vec<u8> = (0..20).flat_map(|n| framed(&Ask::Large(16 << 20).body(n))).collect();
    client.stream.write_all(&requests).await.unwrap();
    soon(server.handler.until_started(1)).await;
    let mut other = server.connect().await;
    other.ask(100, &Ask::Echo(vec![])).await;
    soon(other.answer()).await.unwrap();
    assert_eq!(server.handler.started.lock()[..], [0, 100]);
    for n in 0..20 {
        let (correlation, body) = soon(client.answer()).await.unwrap();
        assert_eq!((correlation, body.len()), (n, 16 << 20));
    }
    soon(server.stop()).await;
}

/// Many clients with large and small requests and a budget for few of them: everything is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_under_a_tight_budget_is_served_to_the_last() {
    let mut settings = settings();
    settings.connection.frame_bytes_max = MIB - 4;
    let server = start_with(settings, Budget::new(4 * MIB, MIB - 4), Obedient::default());
    let mut clients = tokio::task::JoinSet::new();
    for seed in 1..=40u64 {
        let mut client = server.connect().await;
        clients.spawn(async move {
            let mut state = seed;
            let mut random = |below: u64| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state % below
            };
            let lengths: Vec<usize> = (0..12)
                .map(|_| match random(3) {
                    0 => random(100) as usize,
                    1 => random(100_000) as usize,
                    _ => MIB / 2 + random(MIB as u64 / 2 - 100) as usize,
                })
                .collect();
            let (mut reader, mut writer) = client.stream.split();
            let sends = async {
                for (n, len) in lengths.iter().enumerate() {
                    let request = framed(&Ask::Echo(vec![seed as u8; *len]).body(n as u32));
                    writer.write_all(&request).await.unwrap();
                }
            };
            let receives = async {
                for len in &lengths {
                    let size = reader.read_u32().await.unwrap() as usize;
                    assert_eq!(size, len + 4);
                    let mut body = vec![0; size];
                    reader.read_exact(&mut body).await.unwrap();
                    assert!(body[4..].iter().all(|b| *b == seed as u8));
                }
            };
            tokio::join!(sends, receives);
        });
    }
    soon(async {
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
    })
    .await;
    soon(server.until_metric(r#"buslane_memory_budget_used_bytes{listener="test"}"#, 0.0)).await;
    assert_eq!(server.budget.usage().waiting, 0);
    soon(server.stop()).await;
}

#[tokio::test]
async fn a_request_that_waits_for_its_memory_holds_up_its_connection_alone() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let work = server.budget.clone();
    let mut held = work.empty(Share::SmallWork);
    std::future::poll_fn(|cx| held.poll_grow(cx, 14 * MIB)).await;
    let mut waits = server.connect().await;
    waits.ask(1, &Ask::Needs(MIB as u32, b"first".to_vec())).await;
    waits.ask(2, &Ask::Echo(b"second".to_vec())).await;
    soon(server.until_metric(r#"buslane_memory_budget_waiting{listener="test"}"#, 1.0)).await;
    let mut other = server.connect().await;
    other.ask(3, &Ask::Echo(vec![])).await;
    drop(held);
    assert_eq!(soon(waits.answer()).await.unwrap(), (1, b"first".to_vec()));
    assert_eq!(soon(waits.answer()).await.unwrap(), (2, b"second".to_vec()));
    soon(other.answer()).await.unwrap();
    let started = server.handler.started.lock().clone();
    let order: Vec<u32> = started.into_iter().filter(|n| *n != 3).collect();
    assert_eq!(order, [1, 2], "requests of one connection keep their order");
    assert_eq!(server.budget.usage().used, 0);
    soon(server.stop()).await;
}

#[tokio::test]
async fn large_requests_whose_work_does_not_fit_go_on_one_by_one() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let mut clients = vec![];
    for n in 0..12 {
        let mut client = server.connect().await;
        client.ask(n, &Ask::Needs(15 * MIB as u32, vec![0; MIB - 100])).await;
        clients.push(client);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(soon(client.answer()).await.unwrap().0, n as u32);
    }
    soon(server.stop()).await;
}

#[tokio::test]
async fn a_request_for_which_there_is_never_memory_ends_its_connection_after_earlier_answers() {
    let (settings, budget) = tight();
    let server = start_with(settings, budget, Obedient::default());
    let mut client = server.connect().await;
    client.ask(1, &Ask::Echo(b"x".to_vec())).await;
    client.ask(2, &Ask::Needs(u32::MAX, vec![])).await;
    assert_eq!(soon(client.answer()).await.unwrap(), (1, b"x".to_vec()));
    assert!(soon(client.answer()).await.is_err());
    soon(server.stop()).await;
}
