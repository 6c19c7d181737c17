//! Text that somebody else wrote, made fit for a terminal.
//!
//! Control characters could move the cursor or rewrite what was shown; bidirectional and invisible ones could make a
//! text read as another. All of them are shown as escapes.

use std::{fmt::Write as _, io};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};

/// Whether a terminal must not be given the character as it is.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Bidirectional marks, embeddings, overrides and isolates.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators, and what has no width.
            | '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
            // Tags, which spell hidden text.
            | '\u{e0000}'..='\u{e007f}')
}

/// The text on one line, unsafe characters as escapes such as `\n` and `\u{202e}`.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut shown, c);
    }
    shown
}

/// The same, but lines stay lines.
pub fn escaped_lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c => push(&mut shown, c),
        }
    }
    shown
}

fn push(shown: &mut String, c: char) {
    if is_unsafe(c) {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Writing to a string cannot fail.
            c => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
        }
    } else {
        shown.push(c);
    }
}

/// JSON that is the same to a program, and harmless to a terminal: unsafe characters in strings are written as `\uXXXX`.
pub fn to_json<T: Serialize>(value: &T, pretty: bool) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    if pretty {
        let inner = serde_json::ser::PrettyFormatter::new();
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes,
            Harmless(inner),
        ))?;
    } else {
        let inner = serde_json::ser::CompactFormatter;
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes,
            Harmless(inner),
        ))?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A formatter whose strings hold no unsafe characters.
struct Harmless<F>(F);

macro_rules! pass_on {
    ($($name:ident($($arg:ident: $kind:ty),*);)+) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $arg: $kind)*) -> io::Result<()> {
            self.0.$name(writer $(, $arg)*)
        })+
    };
}

impl<F: Formatter> Formatter for Harmless<F> {
    pass_on! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
        write_char_escape(escape: CharEscape);
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| is_unsafe(*c)) {
            writer.write_all(fragment.as_bytes().get(from..at).unwrap_or_default())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            from = at + c.len_utf8();
        }
        writer.write_all(fragment.as_bytes().get(from..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_shown_as_an_escape() {
        assert_eq!(
            escaped("a\u{1b}[31m\u{202e}b\nc"),
            "a\\u{1b}[31m\\u{202e}b\\nc"
        );
        assert_eq!(escaped_lines("a\nb\u{7f}"), "a\nb\\u{7f}");
        assert_eq!(escaped("Grüße, 日本"), "Grüße, 日本");
    }

    #[test]
    fn json_reads_back_the_same_and_holds_nothing_unsafe() {
        let value = serde_json::json!({ "a\u{202e}": ["\u{9b}1m\u{e0041}\u{1b}", "ü", 1.5] });
        for pretty in [false, true] {
            let text = to_json(&value, pretty).unwrap();
            assert!(!text.chars().any(|c| c != '\n' && is_unsafe(c)), "{text:?}");
            let back: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(back, value);
        }
    }
}
