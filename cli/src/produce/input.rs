//! The input of `buslane produce`, read on a thread of its own and handed over line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::ValueEnum;

use crate::exit::Failure;
use crate::record_json::InputRecord;

/// Longest line taken. Far above what a broker takes, far below what hurts this process.
pub const MAX_LINE_BYTES: usize = 16 << 20;
/// Lines read ahead of the producer. With the longest lines that is 256 MiB.
const READ_AHEAD: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputForm {
    Text,
    Json,
}

pub struct Line {
    /// From 1.
    pub number: usize,
    /// The record, or what is wrong with the line.
    pub record: Result<InputRecord, String>,
}

pub struct Input {
    /// Ends when the input has ended, or could not be read on: [`Input::finish`] tells.
    pub lines: Receiver<Line>,
    broken: Arc<Mutex<Option<String>>>,
}

impl Input {
    /// Opens the file, or standard input without one, and starts to read.
    pub fn open(
        file: Option<&Path>,
        form: InputForm,
        key_separator: Option<String>,
    ) -> Result<Self, Failure> {
        let reader: Box<dyn BufRead + Send> = match file {
            Some(path) if path != Path::new("-") => {
                let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
                Box::new(BufReader::with_capacity(1 << 18, file))
            }
            _ => Box::new(BufReader::with_capacity(1 << 18, io::stdin())),
        };
        let parse = move |bytes: Vec<u8>| match form {
            InputForm::Json => InputRecord::from_json(&bytes),
            InputForm::Text => from_text(bytes, key_separator.as_deref()),
        };
        let (sender, lines) = sync_channel(READ_AHEAD);
        let broken = Arc::new(Mutex::new(None));
        let report = broken.clone();
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || {
                if let Err(error) = read_lines(reader, parse, &sender) {
                    *report.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(format!("cannot read the input on: {error}"));
                }
            })
            .context("cannot start to read the input")?;
        Ok(Self { lines, broken })
    }

    /// Why the input ended before its end, if it did.
    pub fn finish(self) -> Option<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn read_lines(
    mut reader: impl BufRead,
    parse: impl Fn(Vec<u8>) -> Result<InputRecord, String>,
    lines: &SyncSender<Line>,
) -> io::Result<()> {
    for number in 1.. {
        let mut bytes = Vec::new();
        if (&mut reader).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let record = if bytes.last() == Some(&b'\n') {
            bytes.pop();
            parse(bytes)
        } else if bytes.len() > MAX_LINE_BYTES {
            bytes = Vec::new();
            skip_line(&mut reader)?;
            Err(format!("the line is longer than {MAX_LINE_BYTES} bytes"))
        } else {
            parse(bytes)
        };
        if lines.send(Line { number, record }).is_err() {
            // The producer has stopped; nobody wants the rest.
            break;
        }
    }
    Ok(())
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (used, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        if done {
            return Ok(());
        }
    }
}

fn from_text(mut line: Vec<u8>, key_separator: Option<&str>) -> Result<InputRecord, String> {
    let Some(separator) = key_separator else {
        return Ok(InputRecord { value: Some(line), ..InputRecord::default() });
    };
    let at = line
        .windows(separator.len())
        .position(|window| window == separator.as_bytes())
        .ok_or_else(|| format!("there is no '{separator}' between key and value"))?;
    let value = line.split_off(at + separator.len());
    line.truncate(at);
    Ok(InputRecord { key: Some(line), value: Some(value), ..InputRecord::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<Result<Option<Vec<u8>>, String>> {
        let (sender, lines) = sync_channel(100);
        read_lines(text, |bytes| from_text(bytes, None), &sender).unwrap();
        drop(sender);
        lines.iter().map(|line| line.record.map(|record| record.value)).collect()
    }

    #[test]
    fn every_line_is_a_record_with_or_without_a_last_newline() {
        let expected = vec![Ok(Some(b"a".to_vec())), Ok(Some(vec![])), Ok(Some(b"b\r\xff".to_vec()))];
        assert_eq!(lines(b"a\n\nb\r\xff\n"), expected);
        assert_eq!(lines(b"a\n\nb\r\xff"), expected);
        assert_eq!(lines(b""), vec![]);
    }

    #[test]
    fn an_endless_line_costs_no_more_than_the_limit_and_the_next_is_read() {
        let mut text = vec![b'x'; MAX_LINE_BYTES + 5];
        text.extend_from_slice(b"\nnext\n");
        let lines = lines(&text);
        assert!(lines[0].as_ref().is_err_and(|error| error.contains("longer than")));
        assert_eq!(lines[1], Ok(Some(b"next".to_vec())));
    }

    #[test]
    fn the_first_separator_ends_the_key() {
        let record = from_text(b"k::v::w".to_vec(), Some("::")).unwrap();
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"k"[..]), Some(&b"v::w"[..])));
        assert!(from_text(b"kv".to_vec(), Some(":")).unwrap_err().contains("no ':'"));
        assert!(from_text(b"k".to_vec(), Some("::")).is_err());
    }
}
