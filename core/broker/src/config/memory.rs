//! How much memory requests and responses may take when nobody says.

/// At most this much, however large the machine is.
const MOST: u64 = 1 << 30;

/// The smaller of 1 GiB and a quarter of the memory this process may use.
pub fn default_budget_bytes() -> usize {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as u64 * u64::from(info.mem_unit.max(1));
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let quarter = available(machine, limit.as_deref()) / 4;
    usize::try_from(quarter.min(MOST)).unwrap_or(usize::MAX)
}

/// The machine's memory, or the control group's limit (cgroup v2: a number of bytes, or `max`) when that is less.
fn available(machine: u64, group_limit: Option<&str>) -> u64 {
    let group = group_limit.and_then(|limit| limit.trim().parse().ok());
    group.map_or(machine, |group: u64| group.min(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_limits_the_memory() {
        assert_eq!(available(8 << 30, None), 8 << 30);
        assert_eq!(available(8 << 30, Some("max\n")), 8 << 30);
        assert_eq!(available(8 << 30, Some("536870912\n")), 512 << 20);
        assert_eq!(available(8 << 30, Some("99999999999999\n")), 8 << 30);
        assert!((1 << 20..=1 << 30).contains(&default_budget_bytes()));
    }
}
