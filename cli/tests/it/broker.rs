//! A broker to run the client verbs against.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fixture::command;

/// A server is ready, or has stopped, well within this.
const DEADLINE: Duration = Duration::from_secs(60);

/// Sends a signal, named as `kill` names it.
pub fn signal(child: &Child, name: &str) {
    let status =
        std::process::Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(status.expect("kill runs").success());
}

/// Waits for a process to end by itself.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            return status;
        }
        assert!(Instant::now() < end, "process {} does not end", child.id());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `buslane server` on a free port.
pub struct Server {
    child: Child,
    /// What it said of itself once it was ready: addresses, cluster id, node id.
    pub started: Value,
}

impl Server {
    /// Starts it on this data folder and waits until it is ready. Its log goes to `DATA.log`, and is part of the message
    /// when it does not start.
    #[track_caller]
    pub fn start(data: &Path) -> Self {
        let data_text = data.to_str().expect("the path is UTF-8");
        let log_path = data.with_extension("log");
        let log = File::options().create(true).append(true).open(&log_path).expect("the log can be written");
        let mut child =
            command(&["server", "--data", data_text, "--listen", "127.0.0.1:0", "--http", "off", "--json"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log)
                .spawn()
                .expect("the server starts");
        let stdout = child.stdout.take().expect("standard output is piped");
        let (sender, first_line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            sender.send(line)
        });
        let line = first_line.recv_timeout(DEADLINE).unwrap_or_default();
        let started = serde_json::from_str(&line).unwrap_or_else(|_| {
            let _ = child.kill();
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            panic!("the server is not ready; it said {line:?} and logged:\n{log}")
        });
        Self { child, started }
    }

    pub fn bootstrap(&self) -> &str {
        self.started["kafka"].as_str().expect("the address is a string")
    }

    /// Stops it in order and returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        signal(&self.child, "TERM");
        wait(&mut self.child).code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Does nothing to a process that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
