//! Rows in the binary format of `COPY … from stdin`.
//!
//! The format (Postgres' manual, "COPY", "Binary Format"): a header, then for each row the number of its fields and for each field
//! its length and bytes, big-endian, -1 for NULL; then -1.

use gatewright_schemas::Timestamp;
use serde::Serialize;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Microseconds from 1970 to 2000, where Postgres' time begins.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Rows of one table, encoded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CopyBuffer {
    bytes: Vec<u8>,
    rows: u64,
}

impl CopyBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: HEADER.to_vec(),
            rows: 0,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The whole message. No row may follow before [`Self::clear`].
    pub(super) fn finish(&mut self) -> &[u8] {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        &self.bytes
    }

    /// Empties the buffer and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(HEADER.len());
        self.rows = 0;
    }

    /// Begins a row of so many fields.
    pub(super) fn row(&mut self, fields: i16) -> Row<'_> {
        self.bytes.extend_from_slice(&fields.to_be_bytes());
        self.rows += 1;
        Row(&mut self.bytes)
    }
}

/// One row, to which fields are added in the order of its columns.
pub(super) struct Row<'a>(&'a mut Vec<u8>);

impl Row<'_> {
    fn field(&mut self, bytes: &[u8]) {
        // A field of 2 GiB is beyond Postgres; messages are limited to a small part of that.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn null(&mut self) {
        self.0.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn or_null<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => put(self, value),
            None => self.null(),
        }
    }

    pub(super) fn bigint(&mut self, value: impl Into<Option<i64>>) {
        self.or_null(value.into(), |row, value| row.field(&value.to_be_bytes()));
    }

    pub(super) fn integer(&mut self, value: impl Into<Option<i32>>) {
        self.or_null(value.into(), |row, value| row.field(&value.to_be_bytes()));
    }

    pub(super) fn smallint(&mut self, value: i16) {
        self.field(&value.to_be_bytes());
    }

    pub(super) fn boolean(&mut self, value: impl Into<Option<bool>>) {
        self.or_null(value.into(), |row, value| row.field(&[u8::from(value)]));
    }

    pub(super) fn time(&mut self, value: impl Into<Option<Timestamp>>) {
        self.or_null(value.into(), |row, value| {
            row.field(&(value.as_micros() - POSTGRES_EPOCH).to_be_bytes());
        });
    }

    pub(super) fn bytes(&mut self, value: Option<&[u8]>) {
        self.or_null(value, Self::field);
    }

    /// A text that is one of our own words or ids.
    pub(super) fn word<'b>(&mut self, value: impl Into<Option<&'b str>>) {
        self.or_null(value.into(), |row, value| row.field(value.as_bytes()));
    }

    /// A text that anybody may have written. Postgres has no NUL character; U+FFFD stands for it.
    pub(super) fn text<'b>(&mut self, value: impl Into<Option<&'b str>>) {
        self.or_null(value.into(), |row, value| {
            if value.contains('\0') {
                row.field(without_nul(value).as_bytes());
            } else {
                row.field(value.as_bytes());
            }
        });
    }

    /// A `json` column: the text as serde writes it, to the letter.
    pub(super) fn json(&mut self, value: Option<&impl Serialize>) {
        self.or_null(value, |row, value| row.serialised(&[], value));
    }

    /// A `jsonb` column, whose strings cannot hold NUL either.
    pub(super) fn jsonb(&mut self, value: Option<&impl Serialize>) {
        /// The version of jsonb's binary form.
        const VERSION: &[u8] = &[1];
        self.or_null(value, |row, value| {
            let start = row.0.len();
            row.serialised(VERSION, value);
            let has_nul = row
                .0
                .get(start..)
                .is_some_and(|field| field.windows(6).any(|w| w == b"\\u0000"));
            if has_nul {
                row.0.truncate(start);
                let mut value = serde_json::to_value(value).unwrap_or_default();
                replace_nul(&mut value);
                row.serialised(VERSION, &value);
            }
        });
    }

    fn serialised(&mut self, prefix: &[u8], value: &impl Serialize) {
        let length_at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        let start = self.0.len();
        self.0.extend_from_slice(prefix);
        // Derived serialisers with string keys have no way to fail, and neither has a `Vec`.
        let _ = serde_json::to_writer(&mut *self.0, value);
        let length = i32::try_from(self.0.len() - start).unwrap_or(i32::MAX);
        if let Some(place) = self.0.get_mut(length_at..start) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// `text` with U+FFFD in the place of each NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn replace_nul(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => *text = without_nul(text),
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, mut value)| {
                    replace_nul(&mut value);
                    (without_nul(&key), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
