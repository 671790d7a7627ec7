//! Each sync call of the store is taken away in turn, and something must break.
//!
//! `cargo test -p buslane-sim --test sync_mutations -- --nocapture` prints what broke, and in how many seeds.

use buslane_log::SyncSite;
use buslane_sim::store_world::{Options, run};

/// Seeds tried for a site.
const SEEDS: u64 = 3_000;

#[test]
fn the_loss_of_any_one_sync_call_is_noticed() {
    // Panics of the code under test are findings here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut unnoticed = Vec::new();
    println!("{:<22} {:>5} {:>5}  violated", "sync taken away", "seed", "step");
    for site in SyncSite::ALL {
        let options = Options { skip: Some(site), ..Options::default() };
        match (0..SEEDS).find_map(|seed| run(seed, options).err()) {
            Some(failure) => {
                let name = format!("{site:?}");
                println!("{name:<22} {:>5} {:>5}  {}", failure.seed, failure.step, failure.violation);
            }
            None => unnoticed.push(site),
        }
    }
    let _ = std::panic::take_hook();
    assert!(unnoticed.is_empty(), "nothing notices the loss of {unnoticed:?} in {SEEDS} seeds");
}
