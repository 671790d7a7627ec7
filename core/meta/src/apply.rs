//! Applying commands: pure, the same everywhere.

use std::sync::Arc;

use buslane_wire::ids::{LeaderEpoch, NodeId, TopicPartition};

use crate::command::{Command, DroppedSegment, Event, OpenSegment, Refused};
use crate::image::{Image, PartitionImage, SegmentImage, SegmentStatus, TopicImage};

/// The image after a command, and what the command did. A refused command leaves the image as it was.
pub fn apply(image: &Image, command: &Command) -> Result<(Image, Event), Refused> {
    let mut next = image.clone();
    next.version += 1;
    let event = change(&mut next, command)?;
    Ok((next, event))
}

fn change(image: &mut Image, command: &Command) -> Result<Event, Refused> {
    match command {
        Command::RegisterNode { node, image: told } => {
            image.nodes.insert(*node, Arc::new(told.clone()));
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
            let current = topic.partitions.len() as i32;
            if current != *expected_count {
                return Err(Refused::Count { expected: *expected_count, current });
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
            let partition = partition_mut(image, *partition)?;
            expect_epoch(partition, *expected_epoch)?;
            let Some(epoch) = partition.epoch.0.checked_add(1).map(LeaderEpoch) else {
                return Err(Refused::Epoch { got: *expected_epoch, current: partition.epoch });
            };
            partition.epoch = epoch;
            partition.owner = Some(*owner);
            if partition.open_segment().is_none() {
                // Nothing to recover: the epoch starts at the end of the chain. Else at the recovered seal.
                partition.epochs.begin(epoch, partition.sealed_end_offset);
            }
            Ok(Event::Assigned(epoch))
        }
        Command::Open { partition, epoch, open } => {
            let partition = partition_mut(image, *partition)?;
            expect_epoch(partition, *epoch)?;
            open_segment(partition, *epoch, open)?;
            partition.check();
            Ok(Event::Done)
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
            let partition = partition_mut(image, *partition)?;
            expect_epoch(partition, *epoch)?;
            let Some(open) = partition.open_segment().filter(|s| s.id == *segment) else {
                return Err(Refused::Chain(format!("segment {segment} is not the open one")));
            };
            if *end_offset < open.base_offset {
                let text = format!("segment {segment} starts at {}, beyond {end_offset}", open.base_offset);
                return Err(Refused::Chain(text));
            }
            let empty = *end_offset == open.base_offset;
            if complete.is_empty() && !empty {
                return Err(Refused::NoStore);
            }
            let recovered = open.epoch < *epoch;
            let mut sealed = (**open).clone();
            sealed.stores = complete.clone();
            sealed.status = SegmentStatus::Sealed {
                end_offset: *end_offset,
                bytes: *bytes,
                max_timestamp: *max_timestamp,
            };
            partition.chain.pop();
            if !empty {
                partition.chain.push(Arc::new(sealed));
            }
            partition.sealed_end_offset = *end_offset;
            partition.losses.extend(*loss);
            // A loss may end the log below its start, after DeleteRecords.
            partition.log_start_offset = partition.log_start_offset.min(*end_offset);
            if recovered {
                partition.epochs.begin(*epoch, *end_offset);
            }
            let mut dropped = drop_below_start(partition);
            if empty {
                dropped.push(DroppedSegment { id: *segment, base_offset: *end_offset });
            }
            if let Some(open) = next {
                open_segment(partition, *epoch, open)?;
            }
            partition.check();
            Ok(if dropped.is_empty() { Event::Done } else { Event::Dropped(dropped) })
        }
        Command::AdvanceLogStart { partition, offset } => {
            let partition = partition_mut(image, *partition)?;
            let sealed = partition.sealed_end_offset;
            if *offset > sealed && partition.open_segment().is_none() {
                // Within the open segment its owner, who proposes, knows how far it is committed.
                return Err(Refused::BeyondEnd { got: *offset, end: sealed });
            }
            if *offset > partition.log_start_offset {
                partition.log_start_offset = *offset;
                partition.epochs.cut(*offset);
            }
            let dropped = drop_below_start(partition);
            partition.check();
            Ok(Event::Dropped(dropped))
        }
        Command::AllocateProducerIds { count } => {
            let first = image.next_producer_id;
            let Some(next) = first.checked_add(i64::from(*count)) else {
                return Err(Refused::BeyondEnd { got: i64::from(*count), end: i64::MAX - first });
            };
            image.next_producer_id = next;
            Ok(Event::ProducerIds { first, count: *count })
        }
    }
}

fn new_partitions(plans: &[Vec<NodeId>]) -> Result<imbl::Vector<Arc<PartitionImage>>, Refused> {
    if plans.is_empty() || plans.iter().any(Vec::is_empty) {
        return Err(Refused::NoStore);
    }
    Ok(plans.iter().map(|plan| Arc::new(PartitionImage::new(plan.clone()))).collect())
}

fn partition_mut(image: &mut Image, id: TopicPartition) -> Result<&mut PartitionImage, Refused> {
    let index = usize::try_from(id.partition).map_err(|_| Refused::Unknown)?;
    let topic = image.topics.get_mut(&id.topic).ok_or(Refused::Unknown)?;
    let partition = Arc::make_mut(topic).partitions.get_mut(index).ok_or(Refused::Unknown)?;
    Ok(Arc::make_mut(partition))
}

fn expect_epoch(partition: &PartitionImage, got: LeaderEpoch) -> Result<(), Refused> {
    if partition.epoch == got { Ok(()) } else { Err(Refused::Epoch { got, current: partition.epoch }) }
}

fn open_segment(
    partition: &mut PartitionImage,
    epoch: LeaderEpoch,
    open: &OpenSegment,
) -> Result<(), Refused> {
    if let Some(there) = partition.open_segment() {
        return Err(Refused::Chain(format!("segment {} is open", there.id)));
    }
    if open.base_offset != partition.sealed_end_offset {
        let end = partition.sealed_end_offset;
        return Err(Refused::Chain(format!("the chain ends at {end}, not at {}", open.base_offset)));
    }
    if open.segment <= partition.last_segment {
        let last = partition.last_segment;
        return Err(Refused::Chain(format!("segment id {} is not above {last}", open.segment)));
    }
    if open.stores.is_empty() {
        return Err(Refused::NoStore);
    }
    partition.last_segment = open.segment;
    partition.chain.push(Arc::new(SegmentImage {
        id: open.segment,
        base_offset: open.base_offset,
        epoch,
        stores: open.stores.clone(),
        durability: open.durability,
        status: SegmentStatus::Open,
    }));
    Ok(())
}

fn drop_below_start(partition: &mut PartitionImage) -> Vec<DroppedSegment> {
    let start = partition.log_start_offset;
    let below = partition.chain.partition_point(|s| s.end_offset().is_some_and(|end| end <= start));
    partition.chain.drain(..below).map(|s| DroppedSegment { id: s.id, base_offset: s.base_offset }).collect()
}
