//! What events may not show: secrets, recognised by the names they stand under and by what the policy marks.
//!
//! - Headers: the well-known ones (`authorization`, `cookie`, …) and any whose name speaks of a token, secret, password, key or credential.
//! - JSON fields and query parameters: names such as `password`, `client_secret`, `api_key`, `accessToken`.
//! - URLs: user information and the fragment always go; of a call's own `target_url` every query value.
//! - Text that is JSON, and bodies that are forms, are looked into.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::secrets::{REDACTED, Secrets};

/// What the policy marks as secret beside what its name shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    headers: BTreeSet<String>,
    names: BTreeSet<String>,
    pointers: Vec<String>,
}

impl Marks {
    /// `headers` are header names.
    /// `values` are JSON pointers (RFC 6901, they begin with `/`) into a call's input, or names of JSON fields, query parameters and headers anywhere.
    /// Case does not matter in names.
    pub fn new<S: AsRef<str>>(headers: &[S], values: &[S]) -> Self {
        let lower = |name: &S| name.as_ref().trim().to_ascii_lowercase();
        let (pointers, names): (Vec<_>, Vec<_>) =
            values.iter().partition(|v| v.as_ref().starts_with('/'));
        Self {
            headers: headers.iter().map(lower).collect(),
            names: names.into_iter().map(lower).collect(),
            pointers: pointers
                .into_iter()
                .map(|p| p.as_ref().to_owned())
                .collect(),
        }
    }

    /// Whether the value of this header is secret.
    pub fn header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.headers.contains(&name) || self.names.contains(&name) || secret_header(&name)
    }

    fn field(&self, name: &str) -> bool {
        self.names.contains(&name.to_ascii_lowercase()) || secret_field(name)
    }

    fn parameter(&self, name: &str) -> bool {
        self.field(name) || matches!(name.to_ascii_lowercase().as_str(), "key" | "sig")
    }
}

fn secret_header(name: &str) -> bool {
    // The key that every request of the fleet carries is the call's id, which is no secret.
    if name == "idempotency-key" {
        return false;
    }
    let tells = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "credential",
        "session",
        "signature",
    ];
    tells.iter().any(|word| name.contains(word))
        || name.ends_with("key")
        || name.starts_with("x-auth")
}

fn secret_field(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let tells = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "credential",
        "authorization",
        "cookie",
        "apikey",
        "accesskey",
        "privatekey",
        "signingkey",
        "signature",
    ];
    tells.iter().any(|word| plain.contains(word))
        // `access_token`, not `max_tokens` or `token_count`.
        || plain.ends_with("token")
        || matches!(plain.as_str(), "pwd" | "jwt" | "auth" | "bearer")
}

/// An input as events may show it.
#[derive(Debug, Clone)]
pub struct Redacted {
    /// The input with [`REDACTED`] in the place of every secret.
    pub value: Value,
    /// What was replaced, to be removed from whatever comes back.
    pub secrets: Secrets,
}

/// Redacts the input of a call.
pub fn input(input: &Value, marks: &Marks) -> Redacted {
    let mut walk = Walk::new(marks);
    let mut value = input.clone();
    for pointer in &marks.pointers {
        if let Some(place) = value.pointer_mut(pointer) {
            *place = walk.hide(place);
        }
    }
    let value = walk.value(None, value);
    let secrets = Secrets::of(&walk.found);
    // A secret may stand a second time where no name shows it, for example in a path.
    let value = secrets.clean(value, marks);
    Redacted { value, secrets }
}

/// Redacts an output by the names in it.
pub(super) fn output(output: Value, marks: &Marks) -> Value {
    Walk::new(marks).value(None, output)
}

/// The URL as events show it: no user information, no fragment, no query values.
pub fn url(url: &Url) -> String {
    Walk::new(&Marks::default()).url(url.clone(), Query::All)
}

#[derive(Clone, Copy, PartialEq)]
enum Query {
    All,
    Secret,
}

struct Walk<'m> {
    marks: &'m Marks,
    found: Vec<String>,
}

impl<'m> Walk<'m> {
    fn new(marks: &'m Marks) -> Self {
        Self {
            marks,
            found: Vec::new(),
        }
    }

    /// `key` is the name of the field in which the value stands.
    fn value(&mut self, key: Option<&str>, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(key, text)),
            Value::Array(items) => items.into_iter().map(|i| self.value(key, i)).collect(),
            Value::Object(fields) => Value::Object(self.fields(key, fields)),
            other => other,
        }
    }

    fn fields(&mut self, key: Option<&str>, fields: Map<String, Value>) -> Map<String, Value> {
        let headers = key == Some("headers");
        fields
            .into_iter()
            .map(|(name, value)| {
                let secret = self.marks.field(&name) || (headers && self.marks.header(&name));
                let value = if secret {
                    self.hide(&value)
                } else {
                    self.value(Some(&name), value)
                };
                (name, value)
            })
            .collect()
    }

    /// Replaces a secret, whatever its shape; that there is none is no secret.
    fn hide(&mut self, value: &Value) -> Value {
        if matches!(value, Value::Null | Value::Bool(_)) {
            return value.clone();
        }
        self.find(value);
        Value::from(REDACTED)
    }

    fn find(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.found.push(text.clone()),
            Value::Number(number) => self.found.push(number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.find(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.find(field)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn text(&mut self, key: Option<&str>, text: String) -> String {
        let target = key == Some("target_url");
        if target || (text.contains("://") && !text.contains(char::is_whitespace)) {
            match Url::parse(text.trim()) {
                Ok(url) if target => return self.url(url, Query::All),
                Ok(url) if url.has_authority() => return self.url_if_secret(url, text),
                // What cannot be parsed cannot be taken apart.
                Err(_) if target && text.contains(['@', '?']) => {
                    self.found.push(text);
                    return REDACTED.to_owned();
                }
                _ => {}
            }
        }
        if let Some((path, query)) = text.split_once('?').filter(|_| text.starts_with('/')) {
            return format!("{path}?{}", self.pairs(query, Query::Secret));
        }
        if text.starts_with(['{', '['])
            && let Ok(inner) = serde_json::from_str::<Value>(&text)
        {
            let clean = self.value(None, inner.clone());
            return if clean == inner {
                text
            } else {
                clean.to_string()
            };
        }
        if key == Some("body") && text.contains('=') && !text.contains(char::is_whitespace) {
            return self.pairs(&text, Query::Secret);
        }
        text
    }

    /// Leaves a URL without secrets exactly as it was written.
    fn url_if_secret(&mut self, url: Url, text: String) -> String {
        let before = self.found.len();
        let clean = self.url(url, Query::Secret);
        if self.found.len() == before {
            text
        } else {
            clean
        }
    }

    fn url(&mut self, mut url: Url, which: Query) -> String {
        if let Some(password) = url.password() {
            let decoded = form_urlencoded::parse(format!("p={password}").as_bytes())
                .next()
                .map(|(_, value)| value.into_owned());
            self.found.push(password.to_owned());
            self.found.extend(decoded);
        } else if !url.username().is_empty() {
            // Alone it is a key; beside a password it is a name like any other.
            self.found.push(url.username().to_owned());
        }
        // These fail only for URLs that cannot have user information.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        if let Some(query) = url.query() {
            let query = self.pairs(query, which);
            url.set_query(Some(&query));
        }
        url.into()
    }

    fn pairs(&mut self, text: &str, which: Query) -> String {
        let pairs: Vec<String> = text
            .split('&')
            .map(|pair| {
                let Some((name, value)) = pair.split_once('=') else {
                    let bare = which == Query::All && !pair.is_empty();
                    return if bare { REDACTED } else { pair }.to_owned();
                };
                let decoded = form_urlencoded::parse(pair.as_bytes()).next();
                let (plain_name, plain_value) = decoded.unwrap_or_default();
                let secret = self.marks.parameter(&plain_name);
                if secret && !value.is_empty() {
                    self.found.push(plain_value.into_owned());
                    self.found.push(value.to_owned());
                }
                if secret || which == Query::All {
                    format!("{name}={REDACTED}")
                } else {
                    pair.to_owned()
                }
            })
            .collect();
        pairs.join("&")
    }
}
