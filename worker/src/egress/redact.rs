//! What events may not show: secrets, recognised by the names they stand under and by what the policy marks.
//!
//! - Headers, JSON fields and query parameters by their names (see [`Marks`]).
//! - URLs: user information and the fragment always go; of a call's own `target_url` every query value.
//! - Text that is JSON, and bodies that are forms, are looked into.

use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::{
    marks::Marks,
    secrets::{REDACTED, Secrets},
};

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
    for pointer in marks.pointers() {
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
