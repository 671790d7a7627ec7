//! Seeded runs of the metadata log, and each of its syncs taken away.

use buslane_meta::MetaSyncSite;
use buslane_sim::meta_world::{Summary, run};

fn seeds(usual: u64) -> u64 {
    std::env::var("BUSLANE_SIM_SEEDS").map_or(usual, |text| text.parse().expect("BUSLANE_SIM_SEEDS"))
}

#[test]
fn an_answered_command_is_for_ever() {
    let mut all = Summary::default();
    for seed in 0..seeds(1_500) {
        let summary = run(seed, None, None).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        all.committed += summary.committed;
        all.openings += summary.openings;
        all.operations += summary.operations;
    }
    println!("{all:?}");
    assert!(all.committed > 1_000 && all.openings > 1_000, "{all:?}");
}

#[test]
fn every_operation_can_be_the_last() {
    for seed in 0..10 {
        let whole = run(seed, None, Some(u64::MAX)).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
        for operation in 0..whole.operations {
            run(seed, None, Some(operation))
                .unwrap_or_else(|v| panic!("seed {seed}, cut at {operation}: {v}"));
        }
    }
}

#[test]
fn the_loss_of_any_one_sync_call_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    for site in MetaSyncSite::ALL {
        match (0..3_000).find_map(|seed| run(seed, Some(site), None).err().map(|v| (seed, v))) {
            Some((seed, violation)) => println!("{:<14} {seed:>5}  {violation}", format!("{site:?}")),
            None => unnoticed.push(site),
        }
    }
    let _ = std::panic::take_hook();
    assert!(unnoticed.is_empty(), "nothing notices the loss of {unnoticed:?}");
}
