//! Secrets in a text of no known form, as well as they can be told.

use super::{marks::Marks, secrets::REDACTED};

/// The text without what follows a secret's name, and that, literally.
pub(super) fn loosely(text: &str, marks: &Marks) -> (String, Vec<String>) {
    let mut shown = String::with_capacity(text.len());
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_of_name(c)).unwrap_or(rest.len()));
        shown.push_str(word);
        rest = after;
        let is_secret = marks.parameter(word) || marks.header(word);
        let value = is_secret.then(|| assigned(rest)).flatten();
        if let Some((before, secret)) = value.or_else(|| user_information(rest)) {
            let (between, after) = rest.split_at(before);
            shown.push_str(between);
            shown.push_str(REDACTED);
            found.push(secret.to_owned());
            rest = after.get(secret.len()..).unwrap_or_default();
        } else if let Some(next) = rest.chars().next() {
            shown.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    (shown, found)
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// The value that a name just before `text` is given, and where it begins: `": "value"`, `=value&`, `: value` up to the line's end.
fn assigned(text: &str) -> Option<(usize, &str)> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let sign = text
        .trim_start_matches(['\\', '"', '\''])
        .trim_start_matches(is_space);
    let value = sign.strip_prefix([':', '='])?.trim_start_matches(is_space);
    let value = value.strip_prefix('\\').unwrap_or(value);
    let (value, end) = match value.strip_prefix(['"', '\'']) {
        Some(quoted) => (quoted, end_of_quoted(quoted, value.chars().next()?)),
        None => (value, value.find(['\r', '\n', '&', '"', '\'', '{', '['])),
    };
    let secret = value.split_at(end.unwrap_or(value.len())).0;
    (!secret.trim().is_empty() && secret != REDACTED).then(|| (text.len() - value.len(), secret))
}

fn end_of_quoted(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (place, c) in text.char_indices() {
        if c == quote && !is_escaped {
            return Some(place);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    None
}

/// What stands before the `@` of a URL whose `://` begins `text`.
fn user_information(text: &str) -> Option<(usize, &str)> {
    let authority = text.strip_prefix("://")?;
    let end = authority.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"'));
    let (authority, _) = authority.split_at(end.unwrap_or(authority.len()));
    let (user, _) = authority.rsplit_once('@')?;
    (!user.is_empty()).then_some(("://".len(), user))
}
