//! Topics: add partitions.

use buslane_wire::messages::CreatePartitionsRequest;
use buslane_wire::messages::create_partitions::CreatePartitionsTopic;

use super::{Admin, Trouble, refused};
use crate::exit::Failure;

impl Admin {
    /// How long a broker may take: its answer is to come within our own limit.
    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.limit.as_millis()).unwrap_or(i32::MAX)
    }

    /// Adds partitions, up to this number in all. With `validate_only` the broker only says whether it would.
    pub fn add_partitions(&mut self, name: &str, count: i32, validate_only: bool) -> Result<(), Trouble> {
        let timeout_ms = self.timeout_ms();
        self.patiently(|admin| {
            let topic = CreatePartitionsTopic { name, count, assignments: None };
            let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms, validate_only };
            let answer = admin.ask(&admin.any(), 0..=3, &request)?;
            let response = answer.read()?;
            let result = response.results.first().ok_or_else(|| unmentioned(name))?;
            Ok(refused(result.error_code, result.error_message)?)
        })
    }
}

fn unmentioned(topic: &str) -> Failure {
    Failure::failed(format!("the broker's answer does not mention topic '{topic}'"))
}
