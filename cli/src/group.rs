//! `buslane group`: the verbs on consumer groups, one file each, and what they share: finding a group, and saying who is
//! in it.

mod delete;
mod describe;
mod list;
mod reset;

use buslane_wire::ErrorCode;
use clap::Subcommand;

use crate::admin::groups::{Group, Member};
use crate::admin::{Admin, Node, Trouble};
use crate::exit::{Failure, Outcome, Status};

/// List, describe and delete consumer groups, and move their offsets
#[derive(Subcommand)]
pub enum GroupVerb {
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
    Reset(reset::ResetArgs),
    Delete(delete::DeleteArgs),
}

pub fn run(verb: GroupVerb) -> Outcome {
    match verb {
        GroupVerb::List(args) => list::run(&args),
        GroupVerb::Describe(args) => describe::run(&args),
        GroupVerb::Reset(args) => reset::run(&args),
        GroupVerb::Delete(args) => delete::run(&args),
    }
}

/// The group with its coordinator; none when there is no such group.
fn find(admin: &mut Admin, name: &str) -> Result<Result<(Group, Node), Failure>, Failure> {
    match admin.group(name) {
        Ok(found) => Ok(Ok(found)),
        Err(Trouble::Refused(refusal)) if refusal.code == ErrorCode::GROUP_ID_NOT_FOUND => {
            Ok(Err(Failure::new(
                Status::Existence,
                format!(
                    "there is no consumer group '{name}': {refusal}; `buslane group list` shows those there are"
                ),
            )))
        }
        Err(trouble) => Err(trouble.failure(&format!("cannot describe group '{name}'"))),
    }
}

/// What is in the way of changing a group's offsets, and what to do about it; none when it has no members.
fn in_the_way(group: &Group) -> Option<String> {
    if group.members.is_empty() && group.state == "Empty" {
        return None;
    }
    let name = &group.group;
    Some(format!(
        "group '{name}' is {} with {}; stop them first (one that was killed counts until its session times out), \
         `buslane group describe {name} --members` shows who is left",
        group.state,
        who(&group.members)
    ))
}

/// `2 members: billing-1 at 10.0.0.7, billing-2 at 10.0.0.8`, five of them at most.
fn who(members: &[Member]) -> String {
    const NAMED: usize = 5;
    let one = |member: &Member| {
        let name = member.instance_id.as_ref().unwrap_or(&member.client_id);
        format!("{name} at {}", host(&member.host))
    };
    let mut named: Vec<_> = members.iter().take(NAMED).map(one).collect();
    if members.len() > NAMED {
        named.push(format!("{} more", members.len() - NAMED));
    }
    match members.len() {
        0 => "no members yet".to_owned(),
        1 => format!("1 member: {}", named.join(", ")),
        count => format!("{count} members: {}", named.join(", ")),
    }
}

/// Brokers write an address as Java does, with a slash in front of what has no name.
fn host(text: &str) -> &str {
    text.strip_prefix('/').unwrap_or(text)
}

/// `orders` or `orders:0,3`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TopicChoice {
    topic: String,
    /// None for all partitions.
    partitions: Option<Vec<i32>>,
}

fn parse_choice(text: &str) -> Result<TopicChoice, String> {
    let wrong = || format!("'{text}' is not TOPIC or TOPIC:PARTITION,PARTITION,...");
    let (topic, partitions) = match text.split_once(':') {
        None => (text, None),
        Some((topic, list)) => {
            let number = |part: &str| part.trim().parse::<i32>().ok().filter(|number| *number >= 0);
            let numbers: Option<Vec<_>> = list.split(',').map(number).collect();
            (topic, Some(numbers.ok_or_else(wrong)?))
        }
    };
    if topic.is_empty() {
        return Err(wrong());
    }
    Ok(TopicChoice { topic: topic.to_owned(), partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, instance_id: Option<&str>) -> Member {
        Member {
            member_id: format!("{name}-1"),
            instance_id: instance_id.map(str::to_owned),
            client_id: name.to_owned(),
            host: "/10.0.0.7".to_owned(),
            epoch: None,
            owned: None,
            target: None,
        }
    }

    #[test]
    fn topics_and_partitions_are_chosen_as_in_kafkas_tool() {
        let choice = |topic: &str, partitions| TopicChoice { topic: topic.to_owned(), partitions };
        assert_eq!(parse_choice("a.b-c"), Ok(choice("a.b-c", None)));
        assert_eq!(parse_choice("a:0"), Ok(choice("a", Some(vec![0]))));
        assert_eq!(parse_choice("a:2, 0"), Ok(choice("a", Some(vec![2, 0]))));
        for text in ["", ":1", "a:", "a:x", "a:-1", "a:0,", "a:1:2"] {
            assert!(parse_choice(text).is_err(), "{text}");
        }
    }

    #[test]
    fn members_are_named_and_many_are_counted() {
        assert_eq!(who(&[member("a", None)]), "1 member: a at 10.0.0.7");
        assert_eq!(
            who(&[member("a", Some("s")), member("b", None)]),
            "2 members: s at 10.0.0.7, b at 10.0.0.7"
        );
        let many: Vec<_> = (0..7).map(|_| member("a", None)).collect();
        assert!(who(&many).starts_with("7 members: a at") && who(&many).ends_with(", 2 more"));
    }
}
