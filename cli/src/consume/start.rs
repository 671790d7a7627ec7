//! Where reading starts in each partition, and where the partition ended at that time.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::connection::{Listener, patiently};
use crate::exit::Failure;
use crate::units::{TimestampMs, format_time};

/// Where the user wants to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Beginning,
    End,
    Offset(i64),
    /// This many offsets before the end, or the beginning where there are fewer.
    BeforeEnd(i64),
    /// The first record of this time or later, or the end where there is none.
    Time(TimestampMs),
}

/// `beginning`, `end`, `120`, `-10`.
pub fn parse_offset(text: &str) -> Result<StartAt, String> {
    match text {
        "beginning" | "earliest" => Ok(StartAt::Beginning),
        "end" | "latest" => Ok(StartAt::End),
        _ => match (text.strip_prefix('-'), text.parse::<i64>()) {
            (Some(_), Ok(number)) if number > i64::MIN => Ok(StartAt::BeforeEnd(-number)),
            (None, Ok(number)) => Ok(StartAt::Offset(number)),
            _ => Err("write beginning, end, an offset, or -N for N records before the end".to_owned()),
        },
    }
}

/// One partition's range of offsets to read.
#[derive(Debug)]
pub struct Start {
    pub partition: i32,
    /// First offset to read.
    pub offset: i64,
    /// The partition's end (exclusive) when asked.
    pub end: i64,
}

/// Asks the broker for the offsets.
pub fn find(
    consumer: &BaseConsumer<Listener>,
    listener: &Listener,
    topic: &str,
    partitions: &[i32],
    at: StartAt,
    limit: Duration,
) -> Result<Vec<Start>, Failure> {
    let by_time = match at {
        StartAt::Time(time) => Some(offsets_at(consumer, listener, topic, partitions, time, limit)?),
        _ => None,
    };
    let mut starts = Vec::with_capacity(partitions.len());
    for (index, &partition) in partitions.iter().enumerate() {
        let asked = patiently(limit, || consumer.fetch_watermarks(topic, partition, limit));
        let (first, end) = asked.map_err(|error| {
            listener.failure(
                &format!("cannot read the offsets of topic '{topic}', partition {partition}"),
                &error,
            )
        })?;
        let offset = match at {
            StartAt::Beginning => first,
            StartAt::End => end,
            StartAt::BeforeEnd(records) => end.saturating_sub(records).max(first),
            StartAt::Time(_) => by_time.as_ref().and_then(|offsets| offsets[index]).unwrap_or(end),
            StartAt::Offset(offset) if (first..=end).contains(&offset) => offset,
            StartAt::Offset(offset) => {
                return Err(Failure::failed(out_of_range(topic, partition, offset, first, end)));
            }
        };
        starts.push(Start { partition, offset, end });
    }
    Ok(starts)
}

fn out_of_range(topic: &str, partition: i32, offset: i64, first: i64, end: i64) -> String {
    let holds = match end - first {
        0 => format!("it is empty, and the next record gets offset {end}"),
        _ => format!("it holds offsets {first} to {}", end - 1),
    };
    format!("topic '{topic}', partition {partition} has no offset {offset}: {holds}")
}

/// For each partition the offset of the first record of `time` or later; None where all are earlier.
fn offsets_at(
    consumer: &BaseConsumer<Listener>,
    listener: &Listener,
    topic: &str,
    partitions: &[i32],
    time: TimestampMs,
    limit: Duration,
) -> Result<Vec<Option<i64>>, Failure> {
    let ask = || {
        let mut question = TopicPartitionList::new();
        for &partition in partitions {
            // The time travels in the offset's place.
            question.add_partition_offset(topic, partition, Offset::Offset(time))?;
        }
        let answer = consumer.offsets_for_times(question, limit)?;
        let found = |partition: &i32| match answer.find_partition(topic, *partition) {
            None => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition)),
            Some(found) => found.error().map(|()| match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            }),
        };
        partitions.iter().map(found).collect()
    };
    patiently(limit, ask).map_err(|error| {
        listener.failure(&format!("cannot look up {} in topic '{topic}'", format_time(time)), &error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_as_people_write_them() {
        assert_eq!(parse_offset("beginning"), Ok(StartAt::Beginning));
        assert_eq!(parse_offset("latest"), Ok(StartAt::End));
        assert_eq!(parse_offset("0"), Ok(StartAt::Offset(0)));
        assert_eq!(parse_offset("-10"), Ok(StartAt::BeforeEnd(10)));
        for text in ["", "-", "x", "1.5", "--1", "-9223372036854775808", "9223372036854775808"] {
            assert!(parse_offset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_offset_that_is_not_there_is_told_with_what_is() {
        assert!(out_of_range("t", 0, 9, 2, 5).contains("it holds offsets 2 to 4"));
        assert!(out_of_range("t", 0, 9, 5, 5).contains("it is empty, and the next record gets offset 5"));
    }
}
