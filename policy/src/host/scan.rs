//! Finding the URLs that an input carries, in every way in which a tool may read them.
//!
//! Programs disagree on where a URL ends, on what a backslash is, on which `@` ends the user information. So a text is not
//! read once by one parser: the call names every host that some parser may find, and the allowlist must have them all.
//!
//! 1. [`hosts_in`] looks at every string of the input, keys included, at any depth.
//! 2. A string that is a URL as a whole is read by the `url` crate. One that is meant to be one and is none fails the input.
//! 3. `find` looks for URLs anywhere in it, `authority` for the hosts that each of them may name.
//!    What may be a URL and yields no host counts as the host [`UNREADABLE`], which only the pattern `*` allows.
//! 4. The same is done with what the string becomes for whoever decodes it (`decode`).

mod authority;
mod decode;
mod find;

use std::collections::BTreeSet;

use serde_json::Value;
use url::{ParseError, Url};

use super::{Host, HostProblem, UnreadableHost};

/// Stands for the host of what may be a URL and yields none. The name is reserved (RFC 2606), so it is nobody's.
pub const UNREADABLE: &str = "unreadable.invalid";

/// So often may a text be encoded within a text. One that is encoded more often fails the input.
const MAX_LAYERS: usize = 6;

/// In so many places and ways may the texts of an input be read. One with more fails.
const MAX_READINGS: usize = 20_000;

/// The hosts of every URL that `input` carries, sorted, each once.
///
/// A URL counts also within a longer text, within another URL and encoded, whatever its scheme; without a scheme where it
/// begins with two slashes of either kind, or is of the form `host:port` or `user@host:path`.
/// A mere name (`example.com`, `example.com/x`) is none: the names of files and methods look alike.
pub fn hosts_in(input: &Value) -> Result<Vec<Host>, UnreadableHost> {
    let mut found = Found::default();
    let mut layer = read_layer(input, &mut found)?;
    for _ in 0..MAX_LAYERS {
        let mut deeper = Vec::new();
        for value in &layer {
            // What is told must be as the caller wrote it, or secrets would not be recognised in it.
            let read = read_layer(value, &mut found);
            deeper.extend(
                read.map_err(|error| UnreadableHost::new("an encoded text", error.problem))?,
            );
        }
        layer = deeper;
    }
    match layer.first() {
        None => Ok(found.hosts.into_iter().collect()),
        Some(_) => Err(UnreadableHost::new("an encoded text", HostProblem::TooMany)),
    }
}

/// Adds the hosts that the strings of `input` name as they stand; answers with what is encoded in them.
fn read_layer(input: &Value, found: &mut Found) -> Result<Vec<Value>, UnreadableHost> {
    let mut encoded = Vec::new();
    strings(input, |text| {
        found.read(text)?;
        encoded.extend(decode::layers_of(text));
        Ok(())
    })?;
    Ok(encoded)
}

/// Every string of `input`, keys included.
fn strings(
    input: &Value,
    mut look: impl FnMut(&str) -> Result<(), UnreadableHost>,
) -> Result<(), UnreadableHost> {
    // A list of what is still to be looked at, since recursion would let a deep input overflow the stack.
    let mut rest = vec![input];
    while let Some(value) = rest.pop() {
        match value {
            Value::String(text) => look(text)?,
            Value::Array(items) => rest.extend(items),
            Value::Object(fields) => {
                for (key, value) in fields {
                    look(key)?;
                    rest.push(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    Ok(())
}

/// What was found.
#[derive(Default)]
struct Found {
    hosts: BTreeSet<Host>,
    readings: usize,
}

impl Found {
    /// Adds the hosts that `text` names as it stands.
    fn read(&mut self, text: &str) -> Result<(), UnreadableHost> {
        // No URL without one of these; most strings end here.
        if !text.contains([':', '/', '\\']) {
            return Ok(());
        }
        self.hosts.extend(whole(text)?);
        // `--url=…` is read by a tool from the `=` on, blanks and all.
        if let Some((name, value)) = text.split_once('=')
            && !name.contains(char::is_whitespace)
        {
            match whole(value) {
                Ok(host) => self.hosts.extend(host),
                Err(_) => self.unreadable(),
            }
        }
        find::each(text, self);
        // The `url` crate, as browsers do, passes over line breaks within a URL. Of a text of several words it is none.
        if text.contains(['\t', '\n', '\r']) && !text.trim().contains(' ') {
            find::each(&strip(text), self);
        }
        if self.readings > MAX_READINGS {
            return Err(UnreadableHost::new(text, HostProblem::TooMany));
        }
        Ok(())
    }

    /// Adds a host that a URL may name; `None` for one that cannot be read.
    fn add(&mut self, host: Option<Host>) {
        self.readings += 1;
        // Beyond the bound the input fails, whatever else is in it.
        if self.readings <= MAX_READINGS {
            // The constant is spelt as hosts are.
            self.hosts
                .insert(host.unwrap_or_else(|| Host(UNREADABLE.into())));
        }
    }

    /// Adds that a URL cannot be read for certain.
    fn unreadable(&mut self) {
        self.add(None);
    }
}

/// The host of the URL that the whole of `text` is; `None` when it is no URL, or one without a host.
fn whole(text: &str) -> Result<Option<Host>, UnreadableHost> {
    match Url::parse(text) {
        Ok(url) => Host::of_url(&url),
        Err(ParseError::RelativeUrlWithoutBase) => Ok(scheme_relative(text)),
        // There is a scheme, and then something that is no URL. "Note: see below" is prose; with slashes it is a URL gone wrong.
        Err(_) if is_meant_as_url(text) => Err(UnreadableHost::new(text, HostProblem::Malformed)),
        Err(_) => Ok(None),
    }
}

/// `//host/path`, with any mixture of slashes. What does not parse even so (a comment, say) is no URL to any tool.
fn scheme_relative(text: &str) -> Option<Host> {
    let stripped = strip(text);
    let slashes = stripped.bytes().take_while(|b| matches!(b, b'/' | b'\\'));
    if slashes.count() < 2 {
        return None;
    }
    let url = Url::parse(&format!("https:{stripped}")).ok()?;
    Host::of_url(&url).ok().flatten()
}

fn is_meant_as_url(text: &str) -> bool {
    let stripped = strip(text);
    let Some((scheme, rest)) = stripped.split_once(':') else {
        return false;
    };
    // Of the special schemes `url` reads `https:example.com` as `https://example.com`, so slashes are no condition there.
    let slashes = rest.starts_with(['/', '\\']);
    slashes || (is_special(scheme) && !rest.starts_with(char::is_whitespace))
}

/// Whether the `url` crate reads URLs of this scheme with any number of slashes.
fn is_special(scheme: &str) -> bool {
    ["http", "https", "ws", "wss", "ftp", "file"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// As the `url` crate reads it: without C0 controls and spaces at both ends, without tabs and line breaks anywhere.
fn strip(text: &str) -> String {
    text.trim_matches(|c: char| c <= ' ')
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect()
}
