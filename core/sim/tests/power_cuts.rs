//! Seeded runs of the real store, with the power cut at any operation of its disk.
//!
//! `BUSLANE_SIM_SEEDS=n` runs n seeds instead of the usual number, `BUSLANE_SIM_SEED=s` only that one.

use buslane_sim::store_world::{Options, Summary, run};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number("BUSLANE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BUSLANE_SIM_SEEDS").unwrap_or(usual),
    }
}

fn must_run(seed: u64, options: Options) -> Summary {
    run(seed, options).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn the_store_keeps_its_promises_over_seeded_lives() {
    let seeds = seeds(6_000);
    let many = seeds.end - seeds.start >= 1_000;
    let mut all = Summary::default();
    for seed in seeds {
        all += must_run(seed, Options::default());
    }
    println!("{all:?}");
    // A simulation that never comes where it hurts proves nothing.
    let rare = [all.crashes, all.clean_stops, all.whole, all.not_whole, all.missing, all.faults, all.sealed];
    assert!(!many || rare.iter().all(|n| *n > 100), "{all:?}");
}

#[test]
fn every_operation_of_a_run_can_be_its_last() {
    let mut cuts = 0;
    for seed in seeds(12) {
        // The first run is cut nowhere; it tells how many operations there are.
        let whole = must_run(seed, Options { cut_at: Some(u64::MAX), ..Options::default() });
        for operation in 0..whole.operations {
            cuts += must_run(seed, Options { cut_at: Some(operation), ..Options::default() }).power_cuts;
        }
    }
    println!("{cuts} power cuts");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..20 {
        let [first, again] = [(); 2].map(|()| must_run(seed, Options::default()));
        assert_eq!(first, again, "seed {seed}");
    }
    assert_ne!(must_run(0, Options::default()).digest, must_run(1, Options::default()).digest);
}
