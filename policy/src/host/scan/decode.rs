//! What a text becomes for whoever decodes it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// The texts that are encoded in `text`; none when it is none but itself.
pub(super) fn layers_of(text: &str) -> Vec<Value> {
    let mut layers = Vec::new();
    if text.contains('%') {
        let decoded: Cow<'_, str> = percent_decode_str(text).decode_utf8_lossy();
        if decoded != text {
            layers.push(Value::from(decoded.into_owned()));
        }
    }
    if text.contains(|c| plain(c) != c) {
        layers.push(Value::from(text.chars().map(plain).collect::<String>()));
    }
    // Of other JSON nothing is new: its strings are there as they stand.
    if text.contains('\\') && text.trim_start().starts_with(['{', '[', '"']) {
        layers.extend(serde_json::from_str::<Value>(text));
    }
    layers
}

fn plain(c: char) -> char {
    match c {
        '\u{3002}' | '\u{ff61}' | '\u{2024}' | '\u{fe52}' => '.',
        '\u{fe55}' => ':',
        '\u{fe68}' => '\\',
        '\u{fe6b}' => '@',
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(c) - 0xff01 + u32::from('!')).unwrap_or(c)
        }
        c => c,
    }
}
