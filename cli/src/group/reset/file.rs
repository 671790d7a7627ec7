//! The file of `--from-file` and `--export`: lines of `TOPIC,PARTITION,OFFSET`, as kafka-consumer-groups.sh writes and
//! reads them; its other form, with the group in front, is understood too.

use std::io::{self, Read, Write};
use std::path::Path;

use super::plan::Move;
use crate::admin::cluster::TopicPartition;
use crate::admin::groups::Committed;
use crate::exit::Failure;

/// Reads the offsets of a group from a file, or from standard input when it is `-`.
pub fn read(path: &Path, group: &str) -> Result<Committed, Failure> {
    let cannot = |error: io::Error| Failure::failed(format!("cannot read {}: {error}", path.display()));
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(cannot)?;
        text
    } else {
        std::fs::read_to_string(path).map_err(cannot)?
    };
    parse(&text, group)
        .map_err(|(line, reason)| Failure::usage(format!("{}:{line}: {reason}", path.display())))
}

/// The error is the number of the line and the reason.
fn parse(text: &str, group: &str) -> Result<Committed, (usize, String)> {
    let mut offsets = Committed::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fail = |reason: String| (index + 1, reason);
        let fields: Vec<_> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let (topic, partition, offset) = match fields[..] {
            [topic, partition, offset] => (topic, partition, offset),
            [of, topic, partition, offset] if of == group => (topic, partition, offset),
            [of, _, _, _] => return Err(fail(format!("is about group '{of}', not '{group}'"))),
            _ => return Err(fail(format!("'{line}' is not TOPIC,PARTITION,OFFSET"))),
        };
        let number = |what: &str, text: &str| {
            text.parse::<i64>()
                .ok()
                .filter(|number| *number >= 0)
                .ok_or_else(|| fail(format!("'{text}' is not {what}")))
        };
        let partition = i32::try_from(number("a partition", partition)?)
            .map_err(|_| fail(format!("'{partition}' is not a partition")))?;
        let offset = number("an offset", offset)?;
        if topic.is_empty() {
            return Err(fail("names no topic".to_owned()));
        }
        let name = TopicPartition { topic: topic.to_owned(), partition };
        if let Some(other) = offsets.insert(name.clone(), offset) {
            return Err(fail(format!("{name} was given the offset {other} before")));
        }
    }
    if offsets.is_empty() {
        return Err((1, "there are no offsets in it; write lines of TOPIC,PARTITION,OFFSET".to_owned()));
    }
    Ok(offsets)
}

pub fn write(out: &mut impl Write, moves: &[Move]) -> io::Result<()> {
    for Move { partition, new, .. } in moves {
        writeln!(out, "{},{},{new}", partition.topic, partition.partition)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_kafkas_tool_are_read() {
        let expected = Committed::from([
            (TopicPartition { topic: "a".to_owned(), partition: 0 }, 12),
            (TopicPartition { topic: "b".to_owned(), partition: 3 }, 0),
        ]);
        for text in ["a,0,12\nb,3,0\n", "\"a\",0,12\r\n\n b , 3 , 0", "g,a,0,12\n\"g\",b,3,0"] {
            assert_eq!(parse(text, "g"), Ok(expected.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, reason) in [
            ("", 1, "there are no offsets"),
            ("a,0,1\na,0", 2, "is not TOPIC,PARTITION,OFFSET"),
            ("a,x,1", 1, "'x' is not a partition"),
            ("a,2147483648,1", 1, "is not a partition"),
            ("a,0,-1", 1, "'-1' is not an offset"),
            ("a,0,1\n\na,0,2", 3, "was given the offset 1 before"),
            ("other,a,0,1", 1, "group 'other', not 'g'"),
            (",0,1", 1, "names no topic"),
        ] {
            let (at, why) = parse(text, "g").unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(why.contains(reason), "{text}: {why}");
        }
    }
}
