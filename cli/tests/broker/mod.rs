//! A broker to run the client verbs against.

use std::process::{Child, Command};

/// Sends a signal, named as `kill` names it.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(status.expect("kill runs").success());
}

/// A broker to test against: the one whose address is in BUSLANE_TEST_BOOTSTRAP.
pub struct Broker {
    bootstrap: String,
}

impl Broker {
    pub fn start() -> Self {
        let bootstrap = std::env::var("BUSLANE_TEST_BOOTSTRAP")
            .expect("BUSLANE_TEST_BOOTSTRAP names the broker to test against; scripts/test starts one");
        Self { bootstrap }
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}
