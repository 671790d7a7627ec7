//! Patterns of topics (KIP-848, SubscribedTopicRegex).
//!
//! Kafka's brokers use RE2/J; here it is the crate `regex`, of the same family: linear time, no back references, no look
//! around. A pattern must match the whole name. What differs:
//!
//! * `\Q…\E` (literal text) is not in the crate's syntax and is translated here.
//! * RE2's `\d`, `\w`, `\s` and `\b` know ASCII only, the crate's all of Unicode. Topic names are ASCII.
//! * The crate takes `&&`, `--` and `~~` inside a class as set operations; RE2 takes them as characters.
//! * RE2/J refuses repetitions above 1000 and of repetitions (`a**`); the crate refuses what compiles to more than
//!   [`MAX_COMPILED_BYTES`].
//! * A pattern that ends inside a comment of its own (`(?x)… # …`) is refused.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use super::error::GroupError;

/// Bytes of a compiled pattern, at most: some ten thousand literal characters.
pub const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A pattern that was found good.
#[derive(Clone, Debug)]
pub struct TopicPattern(Regex);

impl TopicPattern {
    /// Compiles the pattern.
    pub fn compile(pattern: &str) -> Result<TopicPattern, GroupError> {
        let invalid =
            |reason: String| GroupError::InvalidRegularExpression { regex: pattern.to_string(), reason };
        let translated = without_quotes(pattern);
        // On its own first, so that `a)|(?:b` is not taken for two alternatives of the wrapping group.
        for text in [translated.clone(), format!(r"\A(?:{translated})\z")] {
            if let Err(error) = build(&text) {
                return Err(invalid(last_line(&error)));
            }
        }
        build(&format!(r"\A(?:{translated})\z")).map(TopicPattern).map_err(|error| invalid(last_line(&error)))
    }

    /// True when the pattern matches the whole name.
    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }

    /// The names among `names` that match.
    pub fn resolve<'a>(&self, names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        names.filter(|name| self.matches(name)).map(str::to_string).collect()
    }
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).dfa_size_limit(MAX_COMPILED_BYTES).build()
}

/// The crate draws a picture of the mistake over several lines; the last one names it.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_string()
}

/// Replaces `\Q…\E` by the escaped text between; without `\E` it reaches to the end.
fn without_quotes(pattern: &str) -> String {
    let mut result = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        let (before, tail) = rest.split_at(at);
        result.push_str(before);
        if let Some(quoted) = tail.strip_prefix(r"\Q") {
            let (text, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            result.push_str(&regex::escape(text));
            rest = after;
        } else {
            // The backslash and what it escapes, together: `\\Q` is a backslash and a letter.
            let escape = tail.chars().nth(1).map_or(1, |c| 1 + c.len_utf8());
            result.push_str(&tail[..escape]);
            rest = &tail[escape..];
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        TopicPattern::compile(pattern).unwrap().matches(topic)
    }

    #[test]
    fn the_whole_name_must_match() {
        assert!(matches("orders.*", "orders-eu"));
        assert!(!matches("orders", "orders-eu"));
        assert!(!matches("eu", "orders-eu"));
        assert!(matches("a|ab", "ab"), "the longer alternative counts, too");
        assert!(matches("^orders$", "orders"));
        assert!(matches("(?i)ORDERS", "orders"));
    }

    #[test]
    fn quoted_text_is_literal() {
        assert!(matches(r"\Qa.b\E.*", "a.bc"));
        assert!(!matches(r"\Qa.b\E.*", "axbc"));
        assert!(matches(r"\Qa.b", "a.b"));
        assert!(matches(r"a\\Qb", r"a\Qb"), "an escaped backslash opens no quotation");
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in
            ["(", "[", "a)|(?:b", "*", r"(a)\1", "(?=a)", "a{1000000000}", "((a{100}){100}){100}", "(?x)a #b"]
        {
            let error = TopicPattern::compile(pattern).unwrap_err();
            assert!(matches!(error, GroupError::InvalidRegularExpression { .. }), "{pattern}");
        }
    }

    #[test]
    fn resolving_keeps_what_matches() {
        let pattern = TopicPattern::compile("a.*").unwrap();
        let names = pattern.resolve(["b", "a2", "a1"].into_iter());
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a1", "a2"]);
    }

    proptest! {
        #[test]
        fn any_pattern_compiles_or_is_refused(pattern in r"[a-c\\QE.*+?()\[\]{}|^$0-9#x: -]{0,20}") {
            if let Ok(pattern) = TopicPattern::compile(&pattern) {
                pattern.matches("abc-1");
            }
        }

        #[test]
        fn quoting_any_text_matches_just_it(text in "[a-zA-Z0-9._^$(){}*+?|-]{1,20}") {
            let pattern = TopicPattern::compile(&format!(r"\Q{text}\E")).unwrap();
            let longer = format!("{text}x");
            prop_assert!(pattern.matches(&text) && !pattern.matches(&longer));
        }
    }
}
