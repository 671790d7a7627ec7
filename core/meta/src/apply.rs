//! Applying commands: pure, the same everywhere.
//!
//! Every command is checked wholly before it changes anything, so a refused one leaves no trace and a whole entry can be
//! applied to one copy of the image in place.

mod chain;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use buslane_wire::ids::{NodeId, TopicPartition};

use crate::command::{Command, Event};
use crate::image::{Image, NodeState, TopicImage};
use crate::partition::PartitionImage;
use crate::quotas;
use crate::refused::{ChainMismatch, Counted, Refused};

/// The outcome of each command of an entry, in order.
pub type Outcomes = Vec<Result<Event, Refused>>;

/// The image after a command, and what the command did. A refused command leaves the image as it was.
/// [`Image::version`] stays: it counts entries.
pub fn apply(image: &Image, command: &Command) -> Result<(Image, Event), Refused> {
    let mut next = image.clone();
    let event = change(&mut next, command)?;
    Ok((next, event))
}

/// The image after the log entry at `index`, and what became of each of its commands, each judged by the image that the
/// ones before it made.
///
/// # Panics
/// When `index` is not above the image's version.
pub fn apply_entry(image: &Image, index: u64, commands: &[Command]) -> (Image, Outcomes) {
    assert!(index > image.version, "entry {index} is in the image of {} already", image.version);
    let mut next = image.clone();
    next.version = index;
    let outcomes = commands.iter().map(|command| change(&mut next, command)).collect();
    (next, outcomes)
}

fn change(image: &mut Image, command: &Command) -> Result<Event, Refused> {
    match command {
        Command::RegisterNode { node, image: told } => {
            if let Some(known) = image.nodes.get(node)
                && known.incarnation > told.incarnation
            {
                return Err(incarnation(told.incarnation, known.incarnation));
            }
            image.nodes.insert(*node, Arc::new(told.clone()));
            image.node_states.remove(node);
            Ok(Event::Done)
        }
        Command::CreateTopic { id, name, plans, config } => {
            if let Some(taken) = image.names.get(name) {
                return Err(Refused::NameTaken(*taken));
            }
            if image.topics.contains_key(id) || id.is_zero() {
                return Err(Refused::IdTaken);
            }
            let topic = TopicImage {
                id: *id,
                name: name.clone(),
                config: config.clone(),
                partitions: new_partitions(plans)?,
            };
            image.names.insert(name.clone(), *id);
            image.topics.insert(*id, Arc::new(topic));
            Ok(Event::Done)
        }
        Command::DeleteTopic { topic } => {
            let gone = image.topics.remove(topic).ok_or(Refused::Unknown)?;
            image.names.remove(&gone.name);
            Ok(Event::Done)
        }
        Command::CreatePartitions { topic, expected_count, plans } => {
            let topic = image.topics.get_mut(topic).ok_or(Refused::Unknown)?;
            let current = topic.partitions.len();
            if usize::try_from(*expected_count) != Ok(current) {
                let expected = u64::try_from(*expected_count).unwrap_or(0);
                return Err(Refused::Count { what: Counted::Partitions, expected, current: current as u64 });
            }
            let added = new_partitions(plans)?;
            Arc::make_mut(topic).partitions.append(added);
            Ok(Event::Done)
        }
        Command::AlterTopicConfig { topic, changes } => {
            let topic = image.topics.get_mut(topic).ok_or(Refused::Unknown)?;
            let config = &mut Arc::make_mut(topic).config;
            for (key, value) in changes {
                match value {
                    Some(value) => config.insert(key.clone(), value.clone()),
                    None => config.remove(key),
                };
            }
            Ok(Event::Done)
        }
        Command::Assign { partition, expected_epoch, owner } => {
            change_partition(image, *partition, |p| chain::assign(p, *expected_epoch, *owner))
        }
        Command::Open { partition, epoch, open } => {
            change_partition(image, *partition, |p| chain::open(p, *epoch, open))
        }
        Command::Seal {
            partition,
            epoch,
            segment,
            end_offset,
            bytes,
            max_timestamp,
            complete,
            loss,
            next,
        } => {
            let seal = chain::Seal {
                segment: *segment,
                end_offset: *end_offset,
                bytes: *bytes,
                max_timestamp: *max_timestamp,
                complete,
                loss: *loss,
            };
            change_partition(image, *partition, |p| chain::seal(p, *epoch, &seal, next.as_ref()))
        }
        Command::AdvanceLogStart { partition, offset, epoch } => {
            change_partition(image, *partition, |p| chain::advance_log_start(p, *offset, *epoch))
        }
        Command::AllocateProducerIds { count } => {
            let first = image.next_producer_id;
            let Some(next) = first.checked_add(i64::from(*count)) else {
                return Err(Refused::BeyondEnd { got: i64::from(*count), end: i64::MAX - first });
            };
            image.next_producer_id = next;
            Ok(Event::ProducerIds { first, count: *count })
        }
        Command::SetClusterId { cluster_id } => {
            if cluster_id.is_empty() || image.cluster_id.as_deref().is_some_and(|known| known != cluster_id) {
                return Err(Refused::IdTaken);
            }
            image.cluster_id = Some(cluster_id.as_str().into());
            Ok(Event::Done)
        }
        Command::SetNodeState { node, incarnation: run, state } => {
            let known = image.nodes.get(node).ok_or(Refused::Unknown)?;
            if known.incarnation != *run {
                return Err(incarnation(*run, known.incarnation));
            }
            if *state == NodeState::Active {
                image.node_states.remove(node);
            } else {
                image.node_states.insert(*node, *state);
            }
            Ok(Event::Done)
        }
        Command::AlterPlan { partition, expected, plan } => {
            check_stores(plan)?;
            change_partition(image, *partition, |p| {
                if p.plan != *expected {
                    return Err(other_stores(expected, &p.plan));
                }
                p.plan.clone_from(plan);
                Ok(Event::Done)
            })
        }
        Command::AlterStores { partition, segment, expected, stores } => {
            check_stores(stores)?;
            change_partition(image, *partition, |p| chain::alter_stores(p, *segment, expected, stores))
        }
        Command::ReplaceSegments { partition, epoch, replacements, clean_end_offset } => {
            replacements.iter().try_for_each(|replacement| check_stores(&replacement.stores))?;
            change_partition(image, *partition, |p| {
                chain::replace(p, *epoch, replacements, *clean_end_offset)
            })
        }
        Command::AlterQuotas { entity, changes } => {
            quotas::alter(&mut image.quotas, entity, changes)?;
            Ok(Event::Done)
        }
        Command::AlterBrokerConfig { node, changes } => {
            if node.is_some_and(|node| !image.nodes.contains_key(&node)) {
                return Err(Refused::Unknown);
            }
            let mut settings =
                image.broker_configs.get(node).map_or_else(BTreeMap::new, |s| BTreeMap::clone(s));
            for (name, value) in changes {
                match value {
                    Some(value) => settings.insert(name.clone(), value.clone()),
                    None => settings.remove(name),
                };
            }
            match settings.is_empty() {
                true => image.broker_configs.remove(node),
                false => image.broker_configs.insert(*node, Arc::new(settings)),
            };
            Ok(Event::Done)
        }
        Command::SetFeature { name, expected, level } => {
            let current = image.feature(name);
            if current != *expected {
                return Err(Refused::Count {
                    what: Counted::FeatureLevel,
                    expected: u64::from(*expected),
                    current: u64::from(current),
                });
            }
            if *level == 0 {
                image.features.remove(name);
            } else {
                image.features.insert(name.clone(), *level);
            }
            Ok(Event::Done)
        }
    }
}

fn incarnation(expected: u64, current: u64) -> Refused {
    Refused::Count { what: Counted::Incarnation, expected, current }
}

fn other_stores(expected: &[NodeId], current: &[NodeId]) -> Refused {
    Refused::Chain(ChainMismatch::Stores { expected: expected.to_vec(), current: current.to_vec() })
}

/// At least one store, and none twice.
fn check_stores(stores: &[NodeId]) -> Result<(), Refused> {
    let twice = stores.iter().enumerate().any(|(i, store)| stores[..i].contains(store));
    if stores.is_empty() || twice { Err(Refused::NoStore) } else { Ok(()) }
}

fn new_partitions(plans: &[Vec<NodeId>]) -> Result<imbl::Vector<Arc<PartitionImage>>, Refused> {
    if plans.is_empty() {
        return Err(Refused::NoStore);
    }
    plans.iter().try_for_each(|plan| check_stores(plan))?;
    Ok(plans.iter().map(|plan| Arc::new(PartitionImage::new(plan.clone()))).collect())
}

fn change_partition(
    image: &mut Image,
    id: TopicPartition,
    change: impl FnOnce(&mut PartitionImage) -> Result<Event, Refused>,
) -> Result<Event, Refused> {
    let index = usize::try_from(id.partition).map_err(|_| Refused::Unknown)?;
    let topic = image.topics.get_mut(&id.topic).ok_or(Refused::Unknown)?;
    if index >= topic.partitions.len() {
        return Err(Refused::Unknown);
    }
    let partition = &mut Arc::make_mut(topic).partitions[index];
    let partition = Arc::make_mut(partition);
    let event = change(partition)?;
    partition.check();
    Ok(event)
}
