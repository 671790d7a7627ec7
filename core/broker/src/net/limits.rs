//! The limits of a listener, and the count of its connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Everything a listener is told.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Its name in metrics and logs.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Connections at most.
    pub connections_max: usize,
    /// Connections from one address at most.
    pub connections_per_address_max: usize,
    /// How long a shutdown waits for requests in flight.
    pub shutdown_deadline: Duration,
    /// The limits of each connection.
    pub connection: ConnectionLimits,
}

/// The limits of one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Longest frame in bytes; a longer one closes the connection. Kafka: `socket.request.max.bytes`.
    pub frame_bytes_max: usize,
    /// Requests of one connection that are served side by side.
    pub in_flight_max: usize,
    /// A connection with nothing in flight is closed after this long. Kafka: `connections.max.idle.ms`.
    pub idle_max: Duration,
    /// How long a begun request may take to arrive, plus the time its bytes take at `rate_min`.
    pub read_timeout: Duration,
    /// How long responses may take to be taken, plus the time their bytes take at `rate_min`.
    pub write_timeout: Duration,
    /// Bytes per second under which a client is too slow.
    pub rate_min: u64,
    /// How long requests in flight go on for a client that has closed its sending side.
    pub linger: Duration,
}

impl ListenerSettings {
    /// Kafka's values where Kafka has them.
    pub fn new(name: impl Into<String>, address: SocketAddr) -> ListenerSettings {
        ListenerSettings {
            name: name.into(),
            address,
            connections_max: 16_384,
            connections_per_address_max: 8_192,
            shutdown_deadline: Duration::from_secs(10),
            connection: ConnectionLimits::default(),
        }
    }
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            frame_bytes_max: 100 << 20,
            in_flight_max: 32,
            idle_max: Duration::from_secs(600),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            rate_min: 64 << 10,
            linger: Duration::from_secs(10),
        }
    }
}

/// Raises the number of files this process may have open (connections are files too) to what the system allows, and
/// returns it. Shells start programs with 1,024 of a much larger allowance.
pub fn raise_open_files_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    // None: without a limit.
    current.unwrap_or(u64::MAX)
}

/// Why a connection is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Too many in all.
    Total,
    /// Too many from its address.
    Address,
    /// Too many from its address in a short time.
    Rate,
}

/// Counts connections, in all and by address.
#[derive(Debug)]
pub struct ConnectionCount {
    total_max: usize,
    address_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl ConnectionCount {
    /// Nothing is open yet.
    pub fn new(total_max: usize, address_max: usize) -> Arc<ConnectionCount> {
        Arc::new(ConnectionCount { total_max, address_max, open: Mutex::default() })
    }

    /// Takes a place for a connection. An IPv4 address counts as the same when it comes mapped into IPv6.
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Refusal> {
        let address = peer.to_canonical();
        let mut open = self.open.lock();
        if open.total >= self.total_max {
            return Err(Refusal::Total);
        }
        let here = open.by_address.get(&address).copied().unwrap_or(0);
        if here >= self.address_max {
            return Err(Refusal::Address);
        }
        open.total += 1;
        open.by_address.insert(address, here + 1);
        Ok(Place { count: self.clone(), address })
    }
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub struct Place {
    count: Arc<ConnectionCount>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.count.open.lock();
        open.total -= 1;
        if let Some(here) = open.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address_and_come_back() {
        let count = ConnectionCount::new(3, 2);
        let [a, mapped, b, c] =
            ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|a| a.parse::<IpAddr>().unwrap());
        let first = count.admit(a).unwrap();
        let _second = count.admit(mapped).unwrap();
        assert_eq!(count.admit(a).unwrap_err(), Refusal::Address);
        let _third = count.admit(b).unwrap();
        assert_eq!(count.admit(c).unwrap_err(), Refusal::Total);
        drop(first);
        let _fourth = count.admit(a).unwrap();
        assert_eq!(count.open.lock().by_address.len(), 2);
    }
}
