//! Literal secrets, and their removal from whatever is told.

use data_encoding::{BASE64, BASE64_NOPAD};
use gatewright_schemas::reference;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{marks::Marks, walk::Walk};
use crate::Host;

/// What stands in the place of a secret.
pub const REDACTED: &str = "REDACTED";

/// Shorter secrets are hidden where their name shows them, but not searched for: `true` is in every text.
const MIN_SECRET: usize = 6;
/// Shorter parts of a secret (the `Bearer` of a header, the `a` of `a=b`) are not searched for on their own.
const MIN_PART: usize = 8;

/// The literal secrets of a call or a run, in every spelling in which an answer may repeat them.
///
/// A transformed secret (hashed, encrypted, compressed) is beyond it.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Longest first, so that a secret within a secret leaves no remains.
    spellings: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.spellings.len())
    }
}

impl Secrets {
    /// The secrets in these values: header values, passwords, whole or in parts.
    pub fn of<'v>(values: impl IntoIterator<Item = &'v String>) -> Self {
        let mut spellings = Vec::new();
        for value in values {
            spell(value, MIN_SECRET, &mut spellings);
            for part in value.split([' ', ';', ',', '=']) {
                spell(part, MIN_PART, &mut spellings);
                // `Basic dXNlcjpwYXNz`: the password is secret in the clear as well.
                if let Some(password) = basic_password(part) {
                    spell(&password, MIN_SECRET, &mut spellings);
                }
            }
        }
        spellings.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        spellings.dedup();
        Self { spellings }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.spellings.is_empty()
    }

    /// Bytes of the longest text that is looked for. A text that was cut may end with the beginning of one.
    pub fn longest(&self) -> usize {
        self.spellings.first().map_or(0, String::len)
    }

    /// In how many spellings secrets are looked for: what cleaning a text costs.
    pub(super) fn spellings(&self) -> usize {
        self.spellings.len()
    }

    /// `text` without the secrets.
    pub fn clean_text(&self, text: &str) -> String {
        self.cleaned(text).unwrap_or_else(|| text.to_owned())
    }

    /// `text` without the secrets, where it holds any.
    pub(super) fn cleaned(&self, text: &str) -> Option<String> {
        let mut clean: Option<String> = None;
        for secret in &self.spellings {
            let text = clean.as_deref().unwrap_or(text);
            if text.contains(secret.as_str()) {
                clean = Some(text.replace(secret.as_str(), REDACTED));
            }
        }
        clean
    }

    /// Whether telling `host`, which was found in an input, tells a part of a secret.
    ///
    /// In a random text anything may look like a host. Where the secret is a URL as a whole, its host may be told:
    /// nobody could approve a call without.
    pub fn hold(&self, host: &Host) -> bool {
        let is_in = |secret: &String| secret.to_ascii_lowercase().contains(host.as_str());
        let is_its_own = |secret: &String| {
            let url = Url::parse(secret).ok();
            url.is_some_and(|url| Host::of_url(&url).is_ok_and(|own| own.as_ref() == Some(host)))
        };
        self.spellings.iter().any(is_in) && !self.spellings.iter().any(is_its_own)
    }

    /// `bytes`, which need not be text, without the secrets.
    pub fn clean_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match String::from_utf8(bytes) {
            Ok(text) => self.clean_text(&text).into_bytes(),
            Err(error) => {
                let binary = error.into_bytes();
                self.spellings
                    .iter()
                    .fold(binary, |bytes, secret| without(&bytes, secret.as_bytes()))
            }
        }
    }

    /// `output` without the secrets, and without what its own names show to be secret (`access_token` and the like).
    pub fn clean(&self, mut output: Value, marks: &Marks) -> Value {
        Walk::output(marks).value(None, &mut output);
        self.strip(&mut output);
        output
    }

    /// Takes the secrets out of `value`, but for the numbers of references.
    pub fn strip(&self, value: &mut Value) {
        if self.is_empty() {
            return;
        }
        if reference::number(value).is_some() {
            if let Some(shows) = value.get_mut(reference::SHOWS) {
                self.strip(shows);
            }
            return;
        }
        match value {
            Value::String(text) => {
                if let Some(clean) = self.cleaned(text) {
                    *text = clean;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.strip(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.strip(field));
                if fields.keys().any(|name| self.cleaned(name).is_some()) {
                    *fields = std::mem::take(fields)
                        .into_iter()
                        .map(|(name, value)| (self.clean_text(&name), value))
                        .collect();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn spell(secret: &str, shortest: usize, spellings: &mut Vec<String>) {
    let secret = secret.trim();
    if secret.len() < shortest || secret == REDACTED {
        return;
    }
    let quoted = Value::from(secret).to_string();
    let json = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    spellings.extend([
        secret.to_owned(),
        json.unwrap_or(secret).to_owned(),
        form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
    ]);
}

fn basic_password(part: &str) -> Option<String> {
    let part = part.trim().as_bytes();
    let decoded = BASE64
        .decode(part)
        .or_else(|_| BASE64_NOPAD.decode(part))
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

fn without(bytes: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut kept = Vec::with_capacity(rest.len());
    while let Some(place) = rest.windows(secret.len()).position(|part| part == secret) {
        let (before, from) = rest.split_at(place);
        kept.extend_from_slice(before);
        kept.extend_from_slice(REDACTED.as_bytes());
        rest = from.get(secret.len()..).unwrap_or_default();
    }
    kept.extend_from_slice(rest);
    kept
}
