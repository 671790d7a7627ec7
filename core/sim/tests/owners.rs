//! Seeded runs of owners, stores and metadata on one and two nodes.
//!
//! `BUSLANE_SIM_SEEDS=n` runs n seeds instead of the usual number, `BUSLANE_SIM_SEED=s` only that one.

use buslane_sim::owner_world::{Mistake, Options, Summary, run};
use buslane_wire::ids::Durability;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

fn run_all(nodes: usize, durability: Durability) -> Summary {
    let seeds = match number("BUSLANE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BUSLANE_SIM_SEEDS").unwrap_or(600),
    };
    let options = Options::new(nodes, durability);
    let mut all = Summary::default();
    for seed in seeds {
        all += run(seed, options).unwrap_or_else(|failure| panic!("{failure}"));
    }
    println!("{nodes} nodes, {durability:?}: {all:?}");
    all
}

#[test]
fn one_node_loses_only_what_is_recorded() {
    run_all(1, Durability::Replicated);
}

#[test]
fn one_node_loses_nothing_that_was_synced() {
    assert_eq!(run_all(1, Durability::Synced).lost, 0);
}

#[test]
fn two_nodes_lose_only_when_both_lose_power() {
    run_all(2, Durability::Replicated);
}

#[test]
fn two_nodes_lose_nothing_that_was_synced() {
    assert_eq!(run_all(2, Durability::Synced).lost, 0);
}

/// Runs until something breaks.
fn first_failure(options: impl Fn(usize, Durability) -> Options) -> Option<String> {
    (0..1_500).find_map(|seed| {
        let kinds = [(1, Durability::Replicated), (1, Durability::Synced), (2, Durability::Replicated)];
        kinds.into_iter().chain([(2, Durability::Synced)]).find_map(|(nodes, durability)| {
            let failure = run(seed, options(nodes, durability)).err()?;
            Some(format!("{seed:>5}  {nodes} {durability:?}: {}", failure.violation))
        })
    })
}

#[test]
fn each_mistake_of_a_shell_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for mistake in Mistake::ALL {
        match first_failure(|nodes, durability| Options {
            mistake: Some(mistake),
            ..Options::new(nodes, durability)
        }) {
            Some(found) => println!("{:<24} {found}", format!("{mistake:?}")),
            None => unnoticed.push(mistake),
        }
    }
    let _ = std::panic::take_hook();
    assert!(unnoticed.is_empty(), "nothing notices {unnoticed:?}");
}

/// The syncs on which what producers are told stands; the store's own simulation takes away all of them.
#[test]
fn owners_notice_lost_syncs_too() {
    use buslane_log::SyncSite;
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for site in [
        SyncSite::JournalRewriteEntry,
        SyncSite::AppendData,
        SyncSite::SealData,
        SyncSite::SegmentEntry,
        SyncSite::PartitionEntry,
        SyncSite::TopicEntry,
    ] {
        match first_failure(|nodes, durability| Options {
            skip: Some(site),
            ..Options::new(nodes, durability)
        }) {
            Some(found) => println!("{:<24} {found}", format!("{site:?}")),
            None => unnoticed.push(site),
        }
    }
    let _ = std::panic::take_hook();
    assert!(unnoticed.is_empty(), "nothing notices the loss of {unnoticed:?}");
}
