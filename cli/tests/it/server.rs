//! `buslane server` as a process: start, stop, start again, and what it refuses.

use std::net::TcpListener;

use crate::broker::Server;
use crate::fixture::{buslane, buslane_with};
use tempfile::TempDir;

#[test]
fn a_stop_and_a_start_continue_with_the_same_data_and_identity() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let first = Server::start(&data);
    buslane(&["topic", "create", "kept", "--partitions", "1", "-b", first.bootstrap()]).expect(0);
    buslane_with(&["produce", "kept", "-b", first.bootstrap()], b"a\nb\n").expect(0);
    let identity = (first.started["cluster_id"].clone(), first.started["node_id"].clone());
    assert_eq!(first.stop(), Some(0));

    let second = Server::start(&data);
    assert_eq!((second.started["cluster_id"].clone(), second.started["node_id"].clone()), identity);
    buslane_with(&["produce", "kept", "-b", second.bootstrap()], b"c\n").expect(0);
    let read = buslane(&["consume", "kept", "-e", "--show", "offset", "-b", second.bootstrap()]).expect(0);
    assert_eq!(read.stdout, "0\ta\n1\tb\n2\tc\n");
    assert_eq!(second.stop(), Some(0));
}

#[test]
fn a_killed_server_starts_again_with_what_it_acknowledged() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let first = Server::start(&data);
    buslane_with(&["produce", "kept", "--partition", "0", "-b", first.bootstrap()], b"a\nb\n").expect(0);
    // Dropping kills with SIGKILL.
    drop(first);
    let second = Server::start(&data);
    assert_eq!(buslane(&["consume", "kept", "-e", "-b", second.bootstrap()]).expect(0).stdout, "a\nb\n");
}

#[test]
fn a_folder_serves_one_server_at_a_time() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let first = Server::start(&data);
    let second =
        buslane(&["server", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--http", "off"])
            .expect(1);
    assert!(second.stderr.contains(data.to_str().unwrap()), "{}", second.stderr);
    assert_eq!(second.stdout, "");
    assert_eq!(first.stop(), Some(0));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let done = buslane(&["server", "--data", data.to_str().unwrap(), "--listen", &address, "--http", "off"])
        .expect(1);
    assert!(done.stderr.contains(&address), "{}", done.stderr);
    assert!(!data.exists(), "a server that cannot listen leaves the data alone");
}

#[test]
fn a_wrong_configuration_exits_with_2_and_says_where() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("buslane.toml");
    std::fs::write(&file, "[server]\nlisten = \"127.0.0.1:0\"\ndatta = \"x\"\n").unwrap();
    let done = buslane(&["server", "--config", file.to_str().unwrap()]).expect(2);
    assert!(done.stderr.contains(&format!("{}:3: ", file.display())), "{}", done.stderr);
    assert!(done.stderr.contains("server.data"), "{}", done.stderr);

    let done = buslane(&["server", "--config", "/no/such/file"]).expect(2);
    assert!(done.stderr.contains("/no/such/file"), "{}", done.stderr);
    let done = buslane(&["server", "--listen", "0.0.0.0:9092"]).expect(2);
    assert!(done.stderr.contains("--listen") && done.stderr.contains("127.0.0.1"), "{}", done.stderr);
    let done = buslane(&["server", "--http", "nowhere"]).expect(2);
    assert!(done.stderr.contains("--http"), "{}", done.stderr);
}

#[test]
fn the_default_configuration_is_accepted() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("buslane.toml");
    let text = buslane(&["server", "--default-config"]).expect(0).stdout;
    assert!(text.contains("[server]"), "{text}");
    std::fs::write(&file, text).unwrap();
    // A port that is taken proves that the file itself was accepted.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    buslane(&["server", "--config", file.to_str().unwrap(), "--listen", &address, "--http", "off"]).expect(1);
}
