//! Random sequences of commands, beside a model that keeps every single record.

use proptest::prelude::*;

use super::*;
use crate::command::OpenSegment;

/// A record for each offset, and little else.
#[derive(Default)]
struct Model {
    epoch: i32,
    log_start: i64,
    /// The epoch of each record, from offset 0 on; what is not in the log any more stays here.
    sealed: Vec<i32>,
    /// Segment, base and epoch.
    open: Option<(u64, i64, i32)>,
    last_segment: u64,
}

impl Model {
    fn end(&self) -> i64 {
        self.sealed.len() as i64
    }

    /// Where epoch `e` ended, by looking at every record (KIP-101).
    fn end_of(&self, e: i32) -> i64 {
        let from = usize::try_from(self.log_start).unwrap();
        let later = self.sealed.iter().skip(from).position(|epoch| *epoch > e);
        later.map_or(self.end(), |i| self.log_start + i as i64)
    }

    fn open(&mut self, segment: u64, base: i64, epoch: i32) {
        self.open = Some((segment, base, epoch));
        self.last_segment = segment;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Assign { behind: i32, owner: i32 },
    Open { behind: i32, ahead: i64, id: i64 },
    Seal { behind: i32, wrong: bool, records: i64, next: bool },
    Advance { offset: i64, behind: i32 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Mostly what the owner would propose, now and then something stale.
    let behind = || prop_oneof![8 => Just(0), 1 => 1..3i32];
    let step = prop_oneof![
        2 => (behind(), 1..4i32).prop_map(|(behind, owner)| Step::Assign { behind, owner }),
        4 => (behind(), prop_oneof![8 => Just(0i64), 1 => -2..3i64], prop_oneof![8 => Just(1i64), 1 => -1..3i64])
            .prop_map(|(behind, ahead, id)| Step::Open { behind, ahead, id }),
        6 => (behind(), prop::bool::weighted(0.1), -1..6i64, any::<bool>())
            .prop_map(|(behind, wrong, records, next)| Step::Seal { behind, wrong, records, next }),
        2 => (-3..4i64, 0..2i32).prop_map(|(offset, behind)| Step::Advance { offset, behind }),
    ];
    prop::collection::vec(step, 0..60)
}

fn play(image: &mut Image, command: &Command) -> bool {
    match apply(image, command) {
        Ok((next, _)) => {
            *image = next;
            true
        }
        Err(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_commands_keep_the_invariants_and_agree_with_a_model_of_single_records(steps in steps()) {
        let mut image = image_of(&[create_topic(TOPIC, "orders", 1)]);
        let mut model = Model::default();
        let mut begun = 0;
        for step in steps {
            match step {
                Step::Assign { behind, owner } => {
                    let taken = play(&mut image, &assign(model.epoch - behind, owner));
                    prop_assert_eq!(taken, behind == 0);
                    if taken {
                        model.epoch += 1;
                        if model.open.is_none() {
                            begun = model.epoch;
                        }
                    }
                }
                Step::Open { behind, ahead, id } => {
                    let segment = model.last_segment.saturating_add_signed(id);
                    let taken = play(&mut image, &open(model.epoch - behind, segment, model.end() + ahead));
                    let right = behind == 0 && ahead == 0 && id > 0 && model.open.is_none();
                    prop_assert_eq!(taken, right);
                    if taken {
                        model.open(segment, model.end(), model.epoch);
                    }
                }
                Step::Seal { behind, wrong, records, next } => {
                    let (segment, base, epoch) = model.open.unwrap_or((1, model.end(), 0));
                    let end = base + records;
                    let following = model.last_segment + 1;
                    let next: Option<OpenSegment> = next.then(|| open_segment(following, end));
                    let command =
                        seal_with(model.epoch - behind, segment + u64::from(wrong), end, None, next.clone());
                    let taken = play(&mut image, &command);
                    // An end below the log start is a loss there: what follows cannot start at it.
                    let fits = next.is_none() || end >= model.log_start;
                    let right = behind == 0 && !wrong && records >= 0 && model.open.is_some() && fits;
                    prop_assert_eq!(taken, right);
                    if taken {
                        model.sealed.extend(std::iter::repeat_n(epoch, records as usize));
                        // The offsets between a loss and the log start were deleted before.
                        model.sealed.resize(model.sealed.len().max(model.log_start as usize), epoch);
                        model.open = None;
                        begun = model.epoch;
                        if next.is_some() {
                            model.open(following, end, model.epoch);
                        }
                    }
                }
                Step::Advance { offset, behind } => {
                    let to = model.end() + offset;
                    let taken = play(&mut image, &advance_in(model.epoch - behind, to));
                    // Inside the open segment the proposer has to know the epoch.
                    prop_assert_eq!(taken, offset <= 0 || (model.open.is_some() && behind == 0));
                    if taken {
                        model.log_start = model.log_start.max(to);
                    }
                }
            }
            image.check();
            let p = p0(&image);
            prop_assert_eq!(p.epoch.0, model.epoch);
            prop_assert_eq!(p.log_start_offset, model.log_start);
            prop_assert_eq!(p.sealed_end_offset, model.end());
            prop_assert_eq!(p.open_segment().map(|s| s.id.0), model.open.map(|(id, _, _)| id));
            let covered: i64 = p.chain.iter().filter_map(|s| s.end_offset().map(|end| end - s.base_offset)).sum();
            let first = p.chain.first().map_or(model.end(), |s| s.base_offset);
            prop_assert_eq!(covered, model.end() - first, "every offset from the first segment on is in one");
            for (offset, epoch) in model.sealed.iter().enumerate().skip(model.log_start as usize) {
                prop_assert_eq!(p.epoch_of(offset as i64), Some(LeaderEpoch(*epoch)), "offset {}", offset);
            }
            // While the log starts inside the open segment, or the current epoch did not begin, there is no record to
            // look at.
            if model.log_start <= model.end() && begun == model.epoch {
                for e in 0..model.epoch {
                    let (answered, end) = p.end_offset_for_epoch(LeaderEpoch(e), model.end()).unwrap();
                    prop_assert_eq!(end, model.end_of(e), "epoch {}", e);
                    prop_assert!(answered.0 <= e);
                }
            }
        }
        let bytes = crate::encoding::encode_image(&image);
        prop_assert_eq!(crate::encoding::decode_image(&bytes), Ok(image));
    }
}
