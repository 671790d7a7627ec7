use super::*;

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const OLD: SegmentId = SegmentId(4 << 32 | 1);
const FIRST: SegmentId = SegmentId(5 << 32 | 1);
const SECOND: SegmentId = SegmentId(5 << 32 | 2);

/// An owner under epoch 5 and the actions it has asked for, in the verbs of the protocol.
struct Bench {
    owner: Owner,
    out: Vec<Action>,
    now: Millis,
}

fn empty_chain() -> ChainView {
    ChainView { epoch: LeaderEpoch(5), sealed_end_offset: 100, log_start_offset: 0, open: None }
}

fn open_chain(stores: &[NodeId]) -> ChainView {
    let open = OpenView {
        segment: OLD,
        base_offset: 100,
        epoch: LeaderEpoch(4),
        stores: stores.to_vec(),
        durability: Durability::Replicated,
    };
    ChainView { open: Some(open), ..empty_chain() }
}

fn batch(count: i32, bytes: i32) -> BatchHeader {
    BatchHeader {
        base_offset: 0,
        batch_length: bytes - 12,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: count,
    }
}

impl Bench {
    fn start(chain: ChainView, stores: &[NodeId], settings: Settings) -> Bench {
        let mut out = Vec::new();
        let settings = Settings { replicas: stores.len(), ..settings };
        let owner =
            Owner::start(ME, chain, stores.to_vec(), stores.iter().copied().collect(), settings, &mut out);
        Bench { owner, out, now: 1_000_000 }
    }

    /// An owner that appends to FIRST from offset 100 on.
    fn appending(stores: &[NodeId], settings: Settings) -> Bench {
        let mut b = Bench::start(empty_chain(), stores, settings);
        b.owner.on_producers(b.now, Ok((ProducerTable::default(), Millis::MIN)), &mut b.out);
        assert_eq!(b.offer(batch(1, 100)), Ok(Admission::Wait));
        b.create_all(FIRST);
        b.committed();
        assert_eq!(b.owner.phase(), Phase::Appending);
        b.out.clear();
        b
    }

    fn offer(&mut self, header: BatchHeader) -> Result<Admission, Refusal> {
        self.owner.admit(self.now, &header, true, &mut self.out)
    }

    /// Offers and writes a batch; the offset it got.
    fn write(&mut self, header: BatchHeader) -> i64 {
        match self.offer(header) {
            Ok(Admission::Append(place)) => {
                let stamped = BatchHeader { base_offset: place.base_offset, ..header };
                self.owner.on_appended(self.now, &stamped, &mut self.out);
                place.base_offset
            }
            other => panic!("not placed: {other:?}"),
        }
    }

    fn create_all(&mut self, segment: SegmentId) {
        let nodes: Vec<NodeId> = self
            .out
            .iter()
            .filter_map(|a| match a {
                Action::Create { node, segment: s, .. } if *s == segment => Some(*node),
                _ => None,
            })
            .collect();
        assert!(!nodes.is_empty(), "no copy of {segment} asked for in {:?}", self.out);
        for node in nodes {
            self.owner.on_created(self.now, node, segment, Ok(()), &mut self.out);
        }
    }

    fn sealed(&mut self, node: NodeId, segment: SegmentId, bytes: u64) {
        let copy = SealedCopy { bytes, max_timestamp: 7 };
        self.owner.on_sealed_copy(node, segment, Ok(copy), &mut self.out);
    }

    fn committed(&mut self) {
        self.owner.on_proposed(self.now, ProposalOutcome::Committed, &mut self.out);
    }

    fn proposal(&self) -> Option<&Proposal> {
        self.out.iter().rev().find_map(|a| match a {
            Action::Propose(p) => Some(p),
            _ => None,
        })
    }

    fn has(&self, wanted: impl Fn(&Action) -> bool) -> bool {
        self.out.iter().any(wanted)
    }
}

#[test]
fn the_first_append_opens_a_segment_and_then_everything_goes_to_it() {
    let mut b = Bench::start(empty_chain(), &[ME], Settings::default());
    assert_eq!(b.out, [Action::LoadProducers { from: None, end_offset: 100 }]);
    assert_eq!(b.owner.committed_offset(), None);
    assert_eq!(b.offer(batch(1, 100)), Ok(Admission::Wait));
    b.owner.on_producers(b.now, Ok((ProducerTable::default(), Millis::MIN)), &mut b.out);
    assert!(b.has(|a| *a == Action::Ready));
    assert_eq!(b.owner.committed_offset(), Some(100));
    assert_eq!(b.owner.phase(), Phase::Idle, "opening is lazy");

    assert_eq!(b.offer(batch(1, 100)), Ok(Admission::Wait));
    assert!(b.proposal().is_none(), "copies are made before the segment is opened");
    b.create_all(FIRST);
    let open = OpenSegment {
        segment: FIRST,
        base_offset: 100,
        stores: vec![ME],
        durability: Durability::Replicated,
    };
    assert_eq!(b.proposal(), Some(&Proposal::Open(open)));
    b.committed();
    assert_eq!(b.write(batch(3, 200)), 100);
    assert_eq!(b.write(batch(2, 200)), 103);
    b.owner.on_confirmed(ME, FIRST, 105, &mut b.out);
    assert_eq!(b.out.last(), Some(&Action::Committed(105)));
}

#[test]
fn a_full_segment_is_sealed_and_the_next_opened_in_one_command() {
    let mut b = Bench::appending(&[ME], Settings { segment_bytes: 1_000, ..Settings::default() });
    b.write(batch(1, 900));
    assert!(b.has(|a| *a == Action::Presync { segment: FIRST }), "synced ahead at nine tenths");
    b.owner.on_confirmed(ME, FIRST, 101, &mut b.out);
    assert_eq!(b.offer(batch(1, 200)), Ok(Admission::Wait));
    b.sealed(ME, FIRST, 900);
    assert!(b.proposal().is_none(), "the next copy is not made yet");
    b.create_all(SECOND);
    let Some(Proposal::Seal { segment, end_offset, bytes, max_timestamp, complete, loss, next }) =
        b.proposal()
    else {
        panic!("no seal proposed: {:?}", b.out);
    };
    assert_eq!((*segment, *end_offset, *bytes, *max_timestamp), (FIRST, 101, 900, 7));
    assert_eq!((complete.as_slice(), *loss), ([ME].as_slice(), None));
    assert_eq!(next.as_ref().map(|n| (n.segment, n.base_offset)), Some((SECOND, 101)));
    assert_eq!(b.offer(batch(1, 200)), Ok(Admission::Wait), "NoAckInFlight");
    b.committed();
    assert_eq!(b.write(batch(1, 200)), 101);
}

#[test]
fn recovery_of_the_only_copy_seals_what_is_there() {
    for (whole, loss) in [(true, None), (false, Some(Loss { epoch: LeaderEpoch(4), end_offset: 120 }))] {
        let mut b = Bench::start(open_chain(&[ME]), &[ME], Settings::default());
        assert_eq!(b.out, [Action::Recover { node: ME, segment: OLD }]);
        b.owner.on_report(b.now, ME, OLD, Ok(Report::Copy { end_offset: 120, whole }), &mut b.out);
        assert!(b.has(|a| *a == Action::LoadProducers { from: Some((OLD, ME)), end_offset: 120 }));
        assert_eq!(b.owner.committed_offset(), None, "nothing is readable before the seal is committed");
        let written_now = b.now;
        b.owner.on_producers(b.now, Ok((ProducerTable::default(), written_now)), &mut b.out);
        b.create_all(FIRST);
        b.sealed(ME, OLD, 4_000);
        assert_eq!(b.owner.committed_offset(), None, "nor while its seal is in flight");
        let Some(Proposal::Seal { end_offset: 120, loss: got, next: Some(_), .. }) = b.proposal() else {
            panic!("{:?}", b.out)
        };
        assert_eq!(*got, loss);
        b.committed();
        assert_eq!(b.owner.committed_offset(), Some(120));
        assert_eq!(b.write(batch(1, 100)), 120);
    }
}

/// Records up to 130 were deleted by request, then a power cut left 120 of them.
#[test]
fn after_a_loss_below_the_log_start_the_chain_goes_on_from_the_log_start() {
    let chain = ChainView { log_start_offset: 130, ..open_chain(&[ME]) };
    let mut b = Bench::start(chain, &[ME], Settings::default());
    b.owner.on_report(b.now, ME, OLD, Ok(Report::Copy { end_offset: 120, whole: false }), &mut b.out);
    let written_now = b.now;
    b.owner.on_producers(b.now, Ok((ProducerTable::default(), written_now)), &mut b.out);
    assert!(b.has(|a| matches!(a, Action::Create { segment: FIRST, base_offset: 130, .. })));
    b.create_all(FIRST);
    b.sealed(ME, OLD, 4_000);
    let Some(Proposal::Seal { end_offset: 120, loss: Some(_), next: Some(next), .. }) = b.proposal() else {
        panic!("{:?}", b.out)
    };
    assert_eq!(next.base_offset, 130);
    // The answer is lost; the image shows that it happened.
    let open = OpenView {
        segment: FIRST,
        base_offset: 130,
        epoch: LeaderEpoch(5),
        stores: vec![ME],
        durability: Durability::Replicated,
    };
    let there =
        ChainView { open: Some(open), sealed_end_offset: 130, log_start_offset: 130, ..empty_chain() };
    b.owner.on_proposed(b.now, ProposalOutcome::Unknown(there), &mut b.out);
    assert_eq!(b.owner.committed_offset(), Some(130));
    assert_eq!(b.write(batch(1, 100)), 130);
}

#[test]
fn a_copy_that_vanished_is_a_recorded_loss() {
    let mut b = Bench::start(open_chain(&[ME]), &[ME], Settings::default());
    b.owner.on_report(b.now, ME, OLD, Ok(Report::Missing), &mut b.out);
    b.owner.on_producers(b.now, Ok((ProducerTable::default(), Millis::MIN)), &mut b.out);
    let Some(Proposal::Seal { end_offset: 100, complete, loss: Some(loss), next: None, .. }) = b.proposal()
    else {
        panic!("{:?}", b.out)
    };
    assert!(complete.is_empty());
    assert_eq!(*loss, Loss { epoch: LeaderEpoch(4), end_offset: 100 });
}

#[test]
fn recovery_of_two_copies_completes_the_shorter_one_and_waits_out_its_grace() {
    let mut b = Bench::start(open_chain(&[ME, PEER]), &[ME, PEER], Settings::default());
    b.owner.on_report(b.now, ME, OLD, Ok(Report::Copy { end_offset: 110, whole: true }), &mut b.out);
    assert!(!b.has(|a| matches!(a, Action::LoadProducers { .. })), "the other store may know more");
    b.owner.on_report(b.now, PEER, OLD, Ok(Report::Copy { end_offset: 130, whole: true }), &mut b.out);
    let copy =
        Action::CopyTail { segment: OLD, source: PEER, target: ME, from_offset: Some(110), end_offset: 130 };
    assert!(b.has(|a| *a == copy));
    b.owner.on_producers(b.now, Ok((ProducerTable::default(), Millis::MIN)), &mut b.out);
    assert!(!b.has(|a| matches!(a, Action::SealCopy { .. })), "not before the copy is complete");
    b.owner.on_copied(b.now, ME, OLD, Ok(()), &mut b.out);
    b.sealed(ME, OLD, 1);
    b.sealed(PEER, OLD, 1);
    assert!(
        matches!(b.proposal(), Some(Proposal::Seal { end_offset: 130, loss: None, complete, .. }) if complete.len() == 2)
    );

    let mut alone = Bench::start(open_chain(&[ME, PEER]), &[ME, PEER], Settings::default());
    alone.owner.on_report(
        alone.now,
        ME,
        OLD,
        Ok(Report::Copy { end_offset: 110, whole: true }),
        &mut alone.out,
    );
    alone.owner.on_tick(alone.now + RECOVERY_GRACE_MS, &mut alone.out);
    assert!(alone.has(|a| *a == Action::LoadProducers { from: Some((OLD, ME)), end_offset: 110 }));
}

#[test]
fn without_a_whole_copy_recovery_waits_for_the_silent_store_or_the_operator() {
    let mut b = Bench::start(open_chain(&[ME, PEER]), &[ME, PEER], Settings::default());
    b.owner.on_report(b.now, ME, OLD, Ok(Report::Copy { end_offset: 110, whole: false }), &mut b.out);
    b.owner.on_report(b.now, PEER, OLD, Err(StoreFault::Lost), &mut b.out);
    b.owner.on_tick(b.now + 3_600_000, &mut b.out);
    assert_eq!(b.owner.phase(), Phase::Recovering);
    assert_eq!(b.owner.waiting_for(), [PEER]);
    b.owner.accept_loss(b.now, &mut b.out);
    assert!(b.has(|a| matches!(a, Action::LoadProducers { .. })));
}

#[test]
fn a_lost_store_is_sealed_around_and_nothing_unconfirmed_is_acknowledged_meanwhile() {
    let mut b = Bench::appending(&[ME, PEER], Settings::default());
    b.write(batch(5, 100));
    b.owner.on_confirmed(ME, FIRST, 105, &mut b.out);
    assert!(!b.has(|a| matches!(a, Action::Committed(_))));
    b.owner.on_store_lost(b.now, PEER, FIRST, &mut b.out);
    assert_eq!(b.owner.phase(), Phase::Sealing, "acknowledgements wait, so the failover is at once");
    assert!(b.has(|a| matches!(a, Action::SealCopy { node: ME, end_offset: 105, .. })));
    assert!(!b.has(|a| matches!(a, Action::SealCopy { node: PEER, .. })));
    b.owner.on_confirmed(PEER, FIRST, 105, &mut b.out);
    assert!(!b.has(|a| matches!(a, Action::Committed(_))), "a lost store's late word counts for nothing");
    b.sealed(ME, FIRST, 100);
    b.owner.on_created(b.now, ME, SECOND, Ok(()), &mut b.out);
    b.owner.on_created(b.now, PEER, SECOND, Err(StoreFault::Lost), &mut b.out);
    b.committed();
    assert!(b.has(|a| *a == Action::Committed(105)));
    assert_eq!(b.owner.in_sync(), [ME]);
    b.owner.set_settings(Settings { min_insync: 2, ..Settings::default() });
    assert_eq!(b.offer(batch(1, 100)), Err(Refusal::NotEnoughReplicas { have: 1, need: 2 }));
}

#[test]
fn an_idle_partition_does_nothing_about_a_lost_store_until_the_next_append() {
    let mut b = Bench::appending(&[ME, PEER], Settings::default());
    b.owner.on_store_lost(b.now, PEER, FIRST, &mut b.out);
    assert_eq!(b.owner.phase(), Phase::Appending);
    assert_eq!(b.offer(batch(1, 100)), Ok(Admission::Wait));
    assert_eq!(b.owner.seal_reason(), Some(SealReason::Failover));
}

#[test]
fn losing_the_only_store_starts_the_run_over() {
    let mut b = Bench::appending(&[ME], Settings::default());
    b.owner.on_store_lost(b.now, ME, FIRST, &mut b.out);
    assert!(b.has(|a| matches!(a, Action::Restart { .. })));
    assert_eq!(b.offer(batch(1, 100)), Err(Refusal::NotOwner));
}

#[test]
fn age_and_idleness_seal_without_opening_the_next() {
    let settings = Settings { segment_ms: 100_000, idle_ms: 200_000, ..Settings::default() };
    let mut aged = Bench::appending(&[ME], settings.clone());
    aged.write(batch(1, 100));
    aged.owner.on_tick(aged.now + 99_999, &mut aged.out);
    assert_eq!(aged.owner.phase(), Phase::Appending);
    aged.owner.on_tick(aged.now + 100_000, &mut aged.out);
    assert_eq!(aged.owner.seal_reason(), Some(SealReason::Age));

    let mut idle = Bench::appending(&[ME], Settings { segment_ms: 1_000_000, ..settings });
    idle.owner.on_tick(idle.now + 200_000, &mut idle.out);
    assert_eq!(idle.owner.seal_reason(), Some(SealReason::Idle));
    idle.sealed(ME, FIRST, 0);
    idle.committed();
    assert_eq!(idle.owner.phase(), Phase::Idle);
}

#[test]
fn a_changed_durability_rolls_at_the_next_append() {
    let mut b = Bench::appending(&[ME], Settings::default());
    b.owner.set_settings(Settings { durability: Durability::Synced, ..Settings::default() });
    assert_eq!(b.offer(batch(1, 100)), Ok(Admission::Wait));
    assert_eq!(b.owner.seal_reason(), Some(SealReason::Durability));
    assert!(b.has(|a| matches!(a, Action::Create { durability: Durability::Synced, .. })));
}

#[test]
fn a_lost_answer_is_settled_by_looking_at_the_image() {
    let mut b = Bench::start(empty_chain(), &[ME], Settings::default());
    b.owner.on_producers(b.now, Ok((ProducerTable::default(), Millis::MIN)), &mut b.out);
    let _ = b.offer(batch(1, 100));
    b.create_all(FIRST);
    let asked = b.proposal().cloned();
    b.out.clear();
    b.owner.on_proposed(b.now, ProposalOutcome::Unknown(empty_chain()), &mut b.out);
    assert_eq!(b.proposal().cloned(), asked, "not there: the same again");
    let open = OpenView {
        segment: FIRST,
        base_offset: 100,
        epoch: LeaderEpoch(5),
        stores: vec![ME],
        durability: Durability::Replicated,
    };
    let there = ChainView { open: Some(open), ..empty_chain() };
    b.owner.on_proposed(b.now, ProposalOutcome::Refused(there), &mut b.out);
    assert_eq!(b.owner.phase(), Phase::Appending, "there: it had happened");
}

#[test]
fn a_higher_epoch_in_the_image_fences_and_a_refusal_without_reason_starts_over() {
    let mut b = Bench::appending(&[ME], Settings { segment_bytes: 100, ..Settings::default() });
    b.write(batch(1, 100));
    let _ = b.offer(batch(1, 100));
    b.sealed(ME, FIRST, 100);
    b.create_all(SECOND);
    let newer = ChainView { epoch: LeaderEpoch(6), sealed_end_offset: 101, log_start_offset: 0, open: None };
    b.owner.on_proposed(b.now, ProposalOutcome::Refused(newer), &mut b.out);
    assert_eq!(b.owner.phase(), Phase::Stopped);
    assert!(!b.has(|a| *a == Action::Committed(101)));
    b.owner.on_confirmed(ME, FIRST, 101, &mut b.out);
    assert!(!b.has(|a| *a == Action::Committed(101)), "a fenced owner acknowledges nothing");
}

#[test]
fn a_promise_to_another_owner_stops_this_one() {
    let mut b = Bench::start(open_chain(&[ME]), &[ME], Settings::default());
    b.owner.on_report(b.now, ME, OLD, Err(StoreFault::Fenced), &mut b.out);
    assert!(b.has(|a| matches!(a, Action::Restart { .. })));
}

#[test]
fn stepping_down_leaves_nothing_open() {
    let mut b = Bench::appending(&[ME], Settings::default());
    b.write(batch(2, 100));
    b.owner.step_down(b.now, &mut b.out);
    assert_eq!(b.offer(batch(1, 100)), Err(Refusal::NotOwner));
    b.sealed(ME, FIRST, 100);
    assert!(matches!(b.proposal(), Some(Proposal::Seal { end_offset: 102, next: None, .. })));
    b.committed();
    assert!(b.has(|a| *a == Action::Committed(102)), "what waited for its acknowledgement gets it");
    assert_eq!(b.out.last(), Some(&Action::SteppedDown));

    let mut opening = Bench::start(empty_chain(), &[ME], Settings::default());
    opening.owner.on_producers(opening.now, Ok((ProducerTable::default(), Millis::MIN)), &mut opening.out);
    let _ = opening.offer(batch(1, 100));
    opening.owner.step_down(opening.now, &mut opening.out);
    opening.create_all(FIRST);
    opening.committed();
    assert_eq!(
        opening.owner.seal_reason(),
        Some(SealReason::StepDown),
        "what was being opened is sealed again"
    );
}

#[test]
fn stores_that_cannot_make_a_copy_are_left_out_and_none_is_a_refusal_for_a_while() {
    let mut b = Bench::start(empty_chain(), &[ME], Settings::default());
    b.owner.on_producers(b.now, Ok((ProducerTable::default(), Millis::MIN)), &mut b.out);
    let _ = b.offer(batch(1, 100));
    b.owner.on_created(b.now, ME, FIRST, Err(StoreFault::Lost), &mut b.out);
    assert_eq!(b.offer(batch(1, 100)), Err(Refusal::NoStore));
    b.now += CREATE_RETRY_MS;
    assert_eq!(b.offer(batch(1, 100)), Ok(Admission::Wait));
    b.create_all(SECOND);
    b.committed();
    assert_eq!(b.write(batch(1, 100)), 100);
}

#[test]
fn producers_are_checkpointed_by_bytes() {
    let mut b = Bench::appending(&[ME], Settings { checkpoint_bytes: 250, ..Settings::default() });
    b.write(batch(1, 200));
    assert!(!b.has(|a| matches!(a, Action::Checkpoint { .. })));
    b.write(batch(1, 200));
    assert!(b.has(|a| matches!(a, Action::Checkpoint { end_offset: 102, .. })));
}
