//! Who is in a classic group, what they support, and which state the group is in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use buslane_wire::ErrorCode;
use bytes::Bytes;

use super::member::Member;
use super::rebalance::JoinDeadline;
use super::subscription;
use crate::api::{AppendId, JoinedMember, Protocol, RequestId};

/// The protocol type of ordinary consumers, whose subscriptions are understood.
const CONSUMER: &str = "consumer";

/// Where a classic group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; offsets perhaps.
    Empty,
    /// Members are to rejoin.
    PreparingRebalance,
    /// Members have joined and wait for the leader's assignment.
    CompletingRebalance,
    /// Members have their assignment.
    Stable,
    /// There is no such group: only in descriptions.
    Dead,
}

impl GroupState {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

/// A classic group. It never is in the state `Dead`: a group that is gone is not kept.
#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub id: Arc<str>,
    state: GroupState,
    previous: GroupState,
    /// When it came into its state; unknown for groups of the oldest records.
    pub state_since_ms: Option<i64>,
    /// `None` for a group that never had a member: its offsets are a simple consumer's.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol of this generation.
    pub protocol: Option<Arc<str>>,
    pub generation: i32,
    pub leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Static members: id by name.
    static_members: HashMap<Arc<str>, Arc<str>>,
    /// Ids that were given out and must come back (KIP-394).
    pub pending_join: BTreeSet<Arc<str>>,
    /// Members of this generation that have not sent SyncGroup.
    pub pending_sync: BTreeSet<Arc<str>>,
    /// The append with the assignment of this generation, while it is not committed.
    pub assignment_in_flight: Option<AppendId>,
    awaiting_join: usize,
    /// How many members support each protocol.
    support: HashMap<Arc<str>, usize>,
    /// Topics that members subscribe to; `None` when they are not known.
    subscribed: Option<BTreeSet<Arc<str>>>,
    /// Set when a member joined during the delay of the first rebalance.
    pub new_member_added: bool,
    /// What the deadline for rejoining does.
    pub join_deadline: JoinDeadline,
}

impl ClassicGroup {
    /// A group without members.
    pub fn new(id: Arc<str>, state_since_ms: Option<i64>) -> ClassicGroup {
        ClassicGroup {
            id,
            state: GroupState::Empty,
            previous: GroupState::Dead,
            state_since_ms,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            assignment_in_flight: None,
            awaiting_join: 0,
            support: HashMap::new(),
            subscribed: None,
            new_member_added: false,
            join_deadline: JoinDeadline::Rebalance,
        }
    }

    pub fn state(&self) -> GroupState {
        self.state
    }

    /// True while the first members of an empty group gather.
    pub fn is_initial_rebalance(&self) -> bool {
        self.state == GroupState::PreparingRebalance && self.previous == GroupState::Empty
    }

    pub fn transition(&mut self, to: GroupState, now_ms: i64) {
        use GroupState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        let valid = match to {
            Empty | CompletingRebalance => self.state == PreparingRebalance,
            PreparingRebalance => matches!(self.state, Empty | CompletingRebalance | Stable),
            Stable => self.state == CompletingRebalance,
            Dead => false,
        };
        assert!(valid, "group {} cannot go from {:?} to {to:?}", self.id, self.state);
        self.assignment_in_flight = None;
        (self.previous, self.state, self.state_since_ms) = (self.state, to, Some(now_ms));
    }

    /// A loaded group with members is stable.
    pub fn load_as_stable(&mut self) {
        assert!(!self.members.is_empty() && self.state == GroupState::Empty);
        self.state = GroupState::Stable;
    }

    // Members.

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut()
    }

    pub fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    pub fn static_member_id(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(instance_id)
    }

    /// Checks that a request comes from a member, and from the one that holds its static name now (KIP-345).
    pub fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_member_id(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(holder) if &**holder != id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// Adds a member; the first one decides the group's protocol type and leads.
    pub fn add(&mut self, member: Member, protocol_type: &Arc<str>) {
        if let Some(instance_id) = &member.instance_id {
            let taken = self.static_members.insert(instance_id.clone(), member.id.clone());
            assert!(taken.is_none(), "group {}: static member {instance_id} is there already", self.id);
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        assert_eq!(self.protocol_type.as_ref(), Some(protocol_type), "group {}", self.id);
        self.leader.get_or_insert_with(|| member.id.clone());
        self.awaiting_join += usize::from(member.awaiting_join.is_some());
        self.pending_join.remove(&member.id);
        self.count_support(&member.protocols, true);
        let taken = self.members.insert(member.id.clone(), member);
        assert!(taken.is_none(), "group {}: a member is added twice", self.id);
    }

    /// Takes a member out, waiting requests and all, and lets another lead in its place.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        let member = self.members.remove(id)?;
        self.count_support(&member.protocols, false);
        self.awaiting_join -= usize::from(member.awaiting_join.is_some());
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Puts a static member that came back under a new id in its own place. Returns the requests of the old id that still
    /// wait: JoinGroup, SyncGroup.
    pub fn replace_static(&mut self, old: &str, new: Arc<str>) -> (Option<RequestId>, Option<RequestId>) {
        let mut member = self.members.remove(old).expect("a static member's id is a member's");
        let waiting = (member.awaiting_join.take(), member.awaiting_sync.take());
        self.awaiting_join -= usize::from(waiting.0.is_some());
        self.pending_sync.remove(old);
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        let instance_id = member.instance_id.clone().expect("it is static");
        self.static_members.insert(instance_id, new.clone());
        member.id = new.clone();
        member.is_new = false;
        self.members.insert(new, member);
        waiting
    }

    /// Makes a JoinGroup of a member the one that waits. Returns the one that waited before.
    pub fn update(
        &mut self,
        id: &str,
        protocols: Vec<Protocol>,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        join: RequestId,
    ) -> Option<RequestId> {
        let mut member = self.members.remove(id).expect("the caller found the member");
        self.count_support(&member.protocols, false);
        self.count_support(&protocols, true);
        member.protocols = protocols;
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        member.session_timeout_ms = session_timeout_ms;
        let before = member.awaiting_join.replace(join);
        self.awaiting_join += usize::from(before.is_none());
        self.members.insert(member.id.clone(), member);
        before
    }

    /// Takes the waiting JoinGroup of a member, to answer it.
    pub fn take_join(&mut self, id: &str) -> Option<RequestId> {
        let join = self.members.get_mut(id)?.awaiting_join.take();
        self.awaiting_join -= usize::from(join.is_some());
        join
    }

    pub fn awaiting_join(&self) -> usize {
        self.awaiting_join
    }

    pub fn has_everyone_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// Members that have not rejoined and are not static: those may come back under their name.
    pub fn absent_dynamic(&self) -> Vec<Arc<str>> {
        let absent = |member: &&Member| member.awaiting_join.is_none() && member.instance_id.is_none();
        self.members.values().filter(absent).map(|member| member.id.clone()).collect()
    }

    /// Makes sure that the leader is one that has joined. False when nobody has.
    pub fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |member: &Member| member.awaiting_join.is_some();
        if self.leader.as_deref().and_then(|id| self.members.get(id)).is_some_and(has_joined) {
            return true;
        }
        match self.members.values().find(|member| has_joined(member)) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The longest of the members' rebalance timeouts, 0 without members.
    pub fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).fold(0, i32::max)
    }

    // Protocols.

    fn count_support(&mut self, protocols: &[Protocol], more: bool) {
        for protocol in protocols {
            let count = self.support.entry(protocol.name.clone()).or_insert(0);
            if more {
                *count += 1;
            } else {
                *count -= 1;
                if *count == 0 {
                    self.support.remove(&protocol.name);
                }
            }
        }
    }

    /// True when a member with these protocols can be in the group: it shares one with all the others.
    pub fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let by_all = |protocol: &Protocol| {
            self.support.get(&protocol.name).copied().unwrap_or(0) == self.members.len()
        };
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(by_all)
    }

    /// The protocol with the most votes among those that all members support. A tie goes to the one that the leader likes
    /// better (in Kafka to whichever its hash map yields last).
    pub fn select_protocol(&self) -> Option<Arc<str>> {
        let count = self.members.len();
        let candidates: HashSet<&Arc<str>> =
            self.support.iter().filter(|(_, support)| **support == count).map(|(name, _)| name).collect();
        let mut votes: HashMap<&Arc<str>, usize> = HashMap::new();
        for member in self.members.values() {
            // Members share one: joining is refused otherwise.
            let vote = member.vote(&candidates)?;
            *votes.entry(vote).or_insert(0) += 1;
        }
        let most = votes.values().max()?;
        let leader = self.leader.as_deref().and_then(|id| self.members.get(id));
        let by_leader =
            leader.into_iter().flat_map(|leader| &leader.protocols).map(|protocol| &protocol.name);
        by_leader.chain(votes.keys().copied()).find(|name| votes.get(name) == Some(most)).cloned()
    }

    /// Members for the leader, with their subscriptions in the protocol chosen.
    pub fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().expect("a generation with members has a protocol");
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(joined).collect()
    }

    // Topics.

    pub fn is_consumer_type(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Reads the topics out of the members' subscriptions.
    pub fn find_subscribed(&mut self) {
        self.subscribed = self.read_subscribed();
    }

    fn read_subscribed(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_consumer_type() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            let metadata: Bytes = member.metadata(protocol);
            for topic in subscription::topics(&metadata)? {
                if !all.contains(topic) {
                    all.insert(topic.into());
                }
            }
        }
        Some(all)
    }

    /// True when the topics are known.
    pub fn knows_subscribed(&self) -> bool {
        self.subscribed.is_some()
    }

    /// True when a member may be reading the topic: of consumers whose subscriptions cannot be read, any topic.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or(self.is_consumer_type(), |topics| topics.contains(topic))
    }
}

#[cfg(test)]
impl ClassicGroup {
    /// What must be true between any two calls.
    pub fn check(&self) {
        let ids: BTreeSet<_> = self.members.keys().cloned().collect();
        let joining = self.members.values().filter(|member| member.awaiting_join.is_some()).count();
        let syncing = self.members.values().filter(|member| member.awaiting_sync.is_some()).count();
        assert_eq!(self.awaiting_join, joining);
        assert!(self.members.iter().all(|(id, member)| *id == member.id));
        assert!(self.pending_sync.is_subset(&ids) && self.pending_join.is_disjoint(&ids));
        let names = |member: &Member| member.instance_id.clone().map(|name| (name, member.id.clone()));
        assert_eq!(self.static_members, self.members.values().filter_map(names).collect());
        assert_eq!(self.leader.is_some(), !ids.is_empty());
        assert!(self.leader.iter().all(|leader| ids.contains(leader)));
        let mut support = HashMap::new();
        for protocol in self.members.values().flat_map(|member| &member.protocols) {
            *support.entry(protocol.name.clone()).or_insert(0) += 1;
        }
        assert_eq!(self.support, support);
        match self.state {
            GroupState::Empty => assert!(ids.is_empty() && self.pending_sync.is_empty()),
            GroupState::PreparingRebalance => assert!(syncing == 0 && self.pending_sync.is_empty()),
            GroupState::CompletingRebalance => assert!(joining == 0 && !ids.is_empty()),
            GroupState::Stable => assert!(joining == 0 && syncing == 0 && !ids.is_empty()),
            GroupState::Dead => panic!("a dead group is not kept"),
        }
        if let GroupState::CompletingRebalance | GroupState::Stable = self.state {
            assert!(self.protocol.is_some() && !self.members.values().any(|member| member.is_new));
        } else {
            assert_eq!(self.assignment_in_flight, None);
        }
    }
}
