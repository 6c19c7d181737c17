//! A message that could not be worked on, as it may be kept.

use gatewright_schemas::Digest;
use serde_json::Value;

use super::{loose::loosely, marks::Marks, secrets::Secrets, vault::MAX_SPELLINGS, walk::Walk};

/// The longest text that is kept of a message that is not JSON, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// A message without its secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What it says, where it is JSON.
    pub json: Option<Value>,
    /// The text, where it is not; cut to 64 KiB, and bytes that are no UTF-8 replaced.
    pub text: Option<String>,
    /// Whether anything was taken out: what is left is not what was sent.
    pub redacted: bool,
}

/// Makes a message fit to be kept. It may be anything.
///
/// JSON is walked over by its names, and the marked places are looked for below every `input`.
/// Of a text that is not JSON nobody can tell where a value ends: what follows a secret's name and `:` or `=` is taken out,
/// in quotes or up to the end of the line, and so is user information of URLs. More cannot be promised of it.
pub fn message(payload: &[u8], marks: &Marks) -> Message {
    let Ok(mut json) = serde_json::from_slice::<Value>(payload) else {
        return text(&String::from_utf8_lossy(payload), marks);
    };
    let mut walk = Walk::message(marks);
    walk.value(None, &mut json);
    let redacted = walk.replaced > 0;
    let secrets = Secrets::of(&walk.found);
    if secrets.spellings() > MAX_SPELLINGS {
        return unshown(payload);
    }
    secrets.strip(&mut json);
    Message {
        json: Some(json),
        text: None,
        redacted,
    }
}

fn text(text: &str, marks: &Marks) -> Message {
    let (mut shown, found) = loosely(text, marks);
    let secrets = Secrets::of(&found);
    if secrets.spellings() > MAX_SPELLINGS {
        return unshown(text.as_bytes());
    }
    if let Some(clean) = secrets.cleaned(&shown) {
        shown = clean;
    }
    let end = (0..=MAX_TEXT.min(shown.len()))
        .rev()
        .find(|end| shown.is_char_boundary(*end));
    shown.truncate(end.unwrap_or_default());
    Message {
        json: None,
        text: Some(shown),
        redacted: !found.is_empty(),
    }
}

/// There are more secrets in it than can be looked for.
fn unshown(payload: &[u8]) -> Message {
    let text = format!(
        "{} bytes with too many secrets to be shown, SHA-256 {}",
        payload.len(),
        Digest::of_bytes(payload)
    );
    Message {
        json: None,
        text: Some(text),
        redacted: true,
    }
}
