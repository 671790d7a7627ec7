//! A TOML file into the configuration, every value with its line.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Place};
use super::section::{Given, Key};
use super::{SECTIONS, ServerConfig, keys};

/// Unlike names are not suggested: similarity by Jaro and Winkler, 1 is equality.
const NEAR: f64 = 0.75;

/// Reads a file's text; notes where each key stands, and everything that is wrong.
pub fn read(
    path: &Path,
    text: &str,
    config: &mut ServerConfig,
    places: &mut BTreeMap<String, Place>,
    errors: &mut Vec<ConfigError>,
) {
    let place = |at: usize| {
        Place::File(path.to_owned(), 1 + text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count())
    };
    let root = match DeTable::parse(text) {
        Ok(root) => root.into_inner(),
        Err(e) => {
            let problem = e.message().trim_end().replace('\n', "; ");
            let at = e.span().map_or(0, |span| span.start.min(text.len()));
            errors.push(ConfigError { place: place(at), problem });
            return;
        }
    };
    for (section, value) in &root {
        let Some(keys) = SECTIONS.into_iter().find(|keys| keys[0].section == section.get_ref().as_ref())
        else {
            unknown(section.get_ref(), section.span().start, value, &mut |at, problem| {
                errors.push(ConfigError { place: place(at), problem });
            });
            continue;
        };
        let DeValue::Table(table) = value.get_ref() else {
            let problem = format!("{0} is a section: write [{0}] and its keys below", section.get_ref());
            errors.push(ConfigError { place: place(section.span().start), problem });
            continue;
        };
        for (name, value) in table {
            let path = format!("{}.{}", section.get_ref(), name.get_ref());
            let at = name.span().start;
            if !keys.iter().any(|key| key.name == name.get_ref().as_ref()) {
                unknown(&path, at, value, &mut |at, problem| {
                    errors.push(ConfigError { place: place(at), problem })
                });
                continue;
            }
            match config.set(section.get_ref(), name.get_ref(), Given::Toml(value.get_ref())) {
                Ok(()) => drop(places.insert(path, place(at))),
                Err(problem) => {
                    errors.push(ConfigError { place: place(at), problem: format!("{path}: {problem}") });
                }
            }
        }
    }
}

/// Reports a key that is not known; of a table, each key in it, since dots make tables (`num.partitions = 4`).
fn unknown(path: &str, at: usize, value: &Spanned<DeValue<'_>>, wrong: &mut dyn FnMut(usize, String)) {
    match value.get_ref() {
        DeValue::Table(table) if !table.is_empty() => {
            for (name, value) in table {
                unknown(&format!("{path}.{}", name.get_ref()), name.span().start, value, wrong);
            }
        }
        _ => wrong(at, format!("unknown key {path}{}", suggestion(path))),
    }
}

fn suggestion(path: &str) -> String {
    if let Some(key) =
        keys().find(|key| key.kafka.is_some_and(|name| path == name || path.ends_with(&format!(".{name}"))))
    {
        return format!("; here it is {}", key.path());
    }
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |key: &Key| {
        let own = strsim::jaro_winkler(path, &key.path());
        own.max(strsim::jaro_winkler(&last(path), key.name))
    };
    // Of equals the first, hence the reverse.
    let nearest = keys().rev().map(|key| (score(key), key)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((score, key)) if score >= NEAR => format!("; the nearest known key is {}", key.path()),
        _ => format!("; known sections are {}", SECTIONS.map(|keys| keys[0].section).join(", ")),
    }
}
