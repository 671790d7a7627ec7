//! How a consumed record looks on stdout.

use std::io::{self, Write};

use clap::ValueEnum;

use crate::output;
use crate::record_json::{OutputRecord, to_hex};
use crate::units::format_time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// The bytes as they are, one record a line
    Text,
    /// One object a line, with all fields; `produce --input json` reads it back
    Json,
    /// Keys, values and header values in hexadecimal, one record a line
    Hex,
}

/// What can stand before the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Field {
    All,
    Timestamp,
    Partition,
    Offset,
    Headers,
    Key,
}

/// How to print, as the user chose it.
#[derive(Debug)]
pub struct Format {
    pub form: Form,
    pub show: Vec<Field>,
    /// Stands for a key or value that is not there.
    pub null: String,
}

impl Format {
    /// One record, with its newline. Fields come in one order, whatever order they were asked for in: timestamp,
    /// partition, offset, headers, key, value.
    pub fn write(&self, out: &mut impl Write, record: &OutputRecord<'_>) -> io::Result<()> {
        if self.form == Form::Json {
            return output::json_line(out, record);
        }
        if self.shows(Field::Timestamp) {
            match record.timestamp {
                Some(timestamp) => write!(out, "{}\t", format_time(timestamp))?,
                None => write!(out, "-\t")?,
            }
        }
        if self.shows(Field::Partition) {
            write!(out, "{}\t", record.partition)?;
        }
        if self.shows(Field::Offset) {
            write!(out, "{}\t", record.offset)?;
        }
        if self.shows(Field::Headers) {
            for (position, (name, value)) in record.headers.iter().enumerate() {
                if position > 0 {
                    out.write_all(b",")?;
                }
                write!(out, "{name}=")?;
                self.bytes(out, *value)?;
            }
            out.write_all(b"\t")?;
        }
        if self.shows(Field::Key) {
            self.bytes(out, record.key)?;
            out.write_all(b"\t")?;
        }
        self.bytes(out, record.value)?;
        out.write_all(b"\n")
    }

    fn shows(&self, field: Field) -> bool {
        self.show.iter().any(|shown| *shown == field || *shown == Field::All)
    }

    fn bytes(&self, out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
        match bytes {
            None => out.write_all(self.null.as_bytes()),
            Some(bytes) if self.form == Form::Hex => out.write_all(to_hex(bytes).as_bytes()),
            Some(bytes) => out.write_all(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(form: Form, show: &[Field], value: Option<&[u8]>) -> Vec<u8> {
        let record = OutputRecord {
            topic: "orders",
            partition: 3,
            offset: 42,
            timestamp: Some(0),
            timestamp_type: Some("create"),
            key: Some(b"k"),
            value,
            headers: &[("a", Some(b"1")), ("b", None)],
        };
        let mut out = Vec::new();
        Format { form, show: show.to_vec(), null: "NULL".to_owned() }.write(&mut out, &record).unwrap();
        out
    }

    #[test]
    fn text_is_the_bytes_themselves() {
        assert_eq!(line(Form::Text, &[], Some(b"\xff\x00")), b"\xff\x00\n");
        assert_eq!(line(Form::Text, &[], None), b"NULL\n");
    }

    #[test]
    fn fields_come_in_one_order() {
        assert_eq!(line(Form::Text, &[Field::Key, Field::Offset], Some(b"v")), b"42\tk\tv\n");
        assert_eq!(
            line(Form::Hex, &[Field::All], Some(b"v\n")),
            b"1970-01-01T00:00:00.000Z\t3\t42\ta=31,b=NULL\t6b\t760a\n"
        );
    }

    #[test]
    fn json_has_every_field() {
        let text = String::from_utf8(line(Form::Json, &[], Some(b"\xff"))).unwrap();
        assert_eq!(
            text,
            "{\"topic\":\"orders\",\"partition\":3,\"offset\":42,\"timestamp\":0,\"timestamp_type\":\"create\",\
             \"key\":\"k\",\"value_hex\":\"ff\",\"headers\":[{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\",\"value\":null}]}\n"
        );
    }
}
