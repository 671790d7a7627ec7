//! Compaction, ended at any operation of its disk.
//!
//! `BUSLANE_SIM_SEEDS=n` runs n seeds instead of the usual number, `BUSLANE_SIM_SEED=s` only that one.

use buslane_log::SyncSite;
use buslane_sim::clean_world::{Options, Summary, run};

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
fn a_compacted_log_keeps_the_newest_value_of_each_key_over_seeded_lives() {
    let seeds = seeds(2_000);
    let many = seeds.end - seeds.start >= 1_000;
    let mut all = Summary::default();
    for seed in seeds {
        all += must_run(seed, Options::default());
    }
    println!("{all:?}");
    let rare = [
        all.passes,
        all.replaced,
        all.cut_within,
        all.cut_before_command,
        all.cut_while_removing,
        all.faults,
        all.orphans,
        all.tombstones,
        all.gone,
    ];
    assert!(!many || rare.iter().all(|n| *n > 50), "{all:?}");
}

#[test]
fn every_operation_of_a_compaction_can_be_the_last() {
    let mut all = Summary::default();
    for seed in seeds(10) {
        let whole = must_run(seed, Options { cut_at: Some(u64::MAX), ..Options::default() });
        for operation in 0..whole.operations {
            all += must_run(seed, Options { cut_at: Some(operation), ..Options::default() });
        }
    }
    println!("{all:?}");
    // Each stretch of a pass had its power cuts.
    let cuts = [all.cut_within, all.cut_before_command, all.cut_while_removing];
    assert!(cuts.iter().all(|n| *n > 0), "{all:?}");
}

#[test]
fn a_sync_that_is_taken_away_is_missed() {
    std::panic::set_hook(Box::new(|_| {}));
    let sites = [SyncSite::SealData, SyncSite::ProducersData, SyncSite::SegmentEntry];
    let noticed = sites.map(|site| {
        (0..500).find_map(|seed| run(seed, Options { skip: Some(site), ..Options::default() }).err())
    });
    let _ = std::panic::take_hook();
    for (site, noticed) in sites.iter().zip(noticed) {
        assert!(noticed.is_some(), "nothing notices the loss of {site:?}");
    }
}
