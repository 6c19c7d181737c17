//! Finding the URLs that an input carries.

use serde_json::Value;
use url::{ParseError, Url};

use super::{Host, HostProblem, UnreadableHost};

/// A URL may hold another one (`blob:https://…`, `view-source:https://…`); this many layers are looked through.
const MAX_LAYERS: usize = 4;

/// The hosts of every URL that `input` carries, sorted, each once.
///
/// A URL is any string (value or key, at any depth) that parses as an absolute URL with a host, whatever the scheme, and any
/// that begins with `//`, `/\`, `\/` or `\\`, which a tool would resolve against its own scheme.
/// White space and control characters around and within it are treated as the `url` crate treats them.
/// A string that is meant to be a URL but cannot be read fails the whole input: what cannot be matched cannot be allowed.
pub fn hosts_in(input: &Value) -> Result<Vec<Host>, UnreadableHost> {
    let mut hosts = Vec::new();
    // A list of what is still to be looked at, since recursion would let a deep input overflow the stack.
    let mut rest = vec![input];
    while let Some(value) = rest.pop() {
        match value {
            Value::String(text) => hosts.extend(host_of(text)?),
            Value::Array(items) => rest.extend(items),
            Value::Object(fields) => {
                for (key, value) in fields {
                    hosts.extend(host_of(key)?);
                    rest.push(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    hosts.sort_unstable();
    hosts.dedup();
    Ok(hosts)
}

/// The host of the URL that `text` is; `None` when it is no URL, or one without a host.
fn host_of(text: &str) -> Result<Option<Host>, UnreadableHost> {
    // No URL without one of these; most strings end here.
    if !text.contains([':', '/', '\\']) {
        return Ok(None);
    }
    let mut candidate = text.to_owned();
    for _ in 0..MAX_LAYERS {
        let Some(url) = read(&candidate)? else {
            return Ok(None);
        };
        if let Some(host) = Host::of_url(&url)? {
            return Ok(Some(host));
        }
        if !url.cannot_be_a_base() {
            return Ok(None);
        }
        url.path().clone_into(&mut candidate);
    }
    // `arn:aws:…` and `urn:…` have such layers. With slashes at the bottom, somebody hides a host.
    let hides = candidate.contains("//") || candidate.contains('\\');
    if hides {
        Err(UnreadableHost::new(text, HostProblem::Malformed))
    } else {
        Ok(None)
    }
}

fn read(text: &str) -> Result<Option<Url>, UnreadableHost> {
    match Url::parse(text) {
        Ok(url) => Ok(Some(url)),
        Err(ParseError::RelativeUrlWithoutBase) => Ok(read_scheme_relative(text)),
        // There is a scheme, and then something that is no URL. "Note: see below" is prose; with slashes it is a URL gone wrong.
        Err(_) if is_meant_as_url(text) => Err(UnreadableHost::new(text, HostProblem::Malformed)),
        Err(_) => Ok(None),
    }
}

/// `//host/path`, with any mixture of slashes. What does not parse even so (a comment, say) is no URL to any tool.
fn read_scheme_relative(text: &str) -> Option<Url> {
    let stripped = strip(text);
    let begins_so = stripped
        .bytes()
        .take_while(|b| matches!(b, b'/' | b'\\'))
        .count()
        >= 2;
    if begins_so {
        Url::parse(&format!("https:{stripped}")).ok()
    } else {
        None
    }
}

fn is_meant_as_url(text: &str) -> bool {
    let stripped = strip(text);
    let Some((scheme, rest)) = stripped.split_once(':') else {
        return false;
    };
    let special = ["http", "https", "ws", "wss", "ftp", "file"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    // Of the special schemes `url` reads `https:example.com` as `https://example.com`, so slashes are no condition there.
    let slashes = rest.starts_with(['/', '\\']);
    slashes || (special && !rest.starts_with(char::is_whitespace))
}

/// As the `url` crate reads it: without C0 controls and spaces at both ends, without tabs and line breaks anywhere.
fn strip(text: &str) -> String {
    text.trim_matches(|c: char| c <= ' ')
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect()
}
