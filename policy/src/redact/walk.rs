//! The walk over a value that finds its secrets.
//!
//! What is no secret is left exactly as it was written, and costs nothing.

use gatewright_schemas::reference;
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::{marks::Marks, secrets::REDACTED, vault::Vault};

/// Which values of a query are hidden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Query {
    /// All of them.
    All,
    /// Those whose names show them to be secret.
    Secret,
}

/// A walk under way.
pub(super) struct Walk<'w> {
    marks: &'w Marks,
    /// Where secrets go; without it they are lost.
    vault: Option<&'w mut Vault>,
    /// Which values of the query of a `target_url` are hidden.
    target_query: Query,
    /// References are let stand.
    knows_references: bool,
    /// The marked places are looked for below each `input`.
    finds_inputs: bool,
    /// The secrets, literally.
    pub(super) found: Vec<String>,
    /// How many values were replaced.
    pub(super) replaced: usize,
}

impl<'w> Walk<'w> {
    fn new(marks: &'w Marks) -> Self {
        Self {
            marks,
            vault: None,
            target_query: Query::Secret,
            knows_references: false,
            finds_inputs: false,
            found: Vec::new(),
            replaced: 0,
        }
    }

    /// Over a call's input, to be shown. It may hold references.
    pub(super) fn shown(marks: &'w Marks) -> Self {
        Self {
            target_query: Query::All,
            knows_references: true,
            ..Self::new(marks)
        }
    }

    /// Over what a tool answered.
    pub(super) fn output(marks: &'w Marks) -> Self {
        Self {
            target_query: Query::All,
            ..Self::new(marks)
        }
    }

    /// Over inputs whose secrets go into `vault`.
    pub(super) fn into_vault(marks: &'w Marks, vault: &'w mut Vault) -> Self {
        Self {
            vault: Some(vault),
            knows_references: true,
            ..Self::new(marks)
        }
    }

    /// Over a message that may be a submission, or anything else.
    pub(super) fn message(marks: &'w Marks) -> Self {
        Self {
            finds_inputs: true,
            ..Self::new(marks)
        }
    }

    /// Walks over the input of a call: the marked places, then everything.
    pub(super) fn input(&mut self, input: &mut Value) {
        self.marked_places(input);
        self.value(None, input);
    }

    fn marked_places(&mut self, input: &mut Value) {
        let marks = self.marks;
        for pointer in marks.pointers() {
            if let Some(place) = input.pointer_mut(pointer) {
                self.hide(place);
            }
        }
    }

    /// `key` is the name of the field in which the value stands.
    pub(super) fn value(&mut self, key: Option<&str>, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(shows) = self.text(key, text) {
                    self.replace(value, shows.into());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(key, item)),
            Value::Object(_) if self.lets_stand(value) => {}
            Value::Object(fields) => self.fields(key, fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn fields(&mut self, key: Option<&str>, fields: &mut Map<String, Value>) {
        let headers = key == Some("headers");
        for (name, value) in fields {
            if self.marks.field(name) || (headers && self.marks.header(name)) {
                self.hide(value);
                continue;
            }
            if self.finds_inputs && name == "input" {
                self.marked_places(value);
            }
            self.value(Some(name), value);
        }
    }

    /// Replaces a secret, whatever its shape; that there is none is no secret.
    fn hide(&mut self, place: &mut Value) {
        let is_none = match place {
            Value::Null | Value::Bool(_) => true,
            Value::String(text) => text.is_empty() || text == REDACTED,
            _ => self.lets_stand(place),
        };
        if !is_none {
            self.find(place);
            self.replace(place, Value::from(REDACTED));
        }
    }

    fn lets_stand(&self, value: &Value) -> bool {
        self.knows_references && reference::number(value).is_some()
    }

    fn replace(&mut self, place: &mut Value, shows: Value) {
        self.replaced += 1;
        match &mut self.vault {
            None => *place = shows,
            Some(vault) => vault.keep(place, shows),
        }
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

    /// What may be shown of `text`, where that is not all of it.
    fn text(&mut self, key: Option<&str>, text: &str) -> Option<String> {
        let target = key == Some("target_url");
        if target || (text.contains("://") && !text.contains(char::is_whitespace)) {
            match Url::parse(text.trim()) {
                Ok(url) if target && self.target_query == Query::All => {
                    return Some(self.url(url, Query::All)).filter(|shows| shows != text);
                }
                Ok(url) if target || url.has_authority() => return self.url_if_secret(url),
                // What cannot be parsed cannot be taken apart.
                Err(_) if target && text.contains(['@', '?']) => {
                    self.found.push(text.to_owned());
                    return Some(REDACTED.to_owned());
                }
                _ => {}
            }
        }
        if let Some((path, query)) = text.split_once('?').filter(|_| text.starts_with('/')) {
            let shows = format!("{path}?{}", self.pairs(query, Query::Secret));
            return Some(shows).filter(|shows| shows != text);
        }
        if text.starts_with(['{', '['])
            && let Ok(inner) = serde_json::from_str::<Value>(text)
        {
            return self.json_text(inner);
        }
        if key == Some("body") && text.contains('=') && !text.contains(char::is_whitespace) {
            return Some(self.pairs(text, Query::Secret)).filter(|shows| shows != text);
        }
        None
    }

    /// JSON inside a text: the text is one value, so its secrets are not kept one by one.
    fn json_text(&mut self, mut inner: Value) -> Option<String> {
        let vault = self.vault.take();
        // What looks like a reference in a text is none.
        let knows_references = std::mem::take(&mut self.knows_references);
        let before = self.replaced;
        self.value(None, &mut inner);
        self.vault = vault;
        self.knows_references = knows_references;
        let has_secrets = self.replaced > before;
        self.replaced = before;
        has_secrets.then(|| inner.to_string())
    }

    /// Leaves a URL without secrets exactly as it was written.
    fn url_if_secret(&mut self, url: Url) -> Option<String> {
        let before = self.found.len();
        let shows = self.url(url, Query::Secret);
        (self.found.len() > before).then_some(shows)
    }

    pub(super) fn url(&mut self, mut url: Url, which: Query) -> String {
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
        if let Some(fragment) = url.fragment() {
            // It is never shown; a token in it is looked for elsewhere, too.
            self.pairs(fragment, Query::Secret);
        }
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
                let secret = self.marks.parameter(&plain_name) && !value.is_empty();
                if secret && value != REDACTED {
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
