//! The hosts that the authority of a URL may name: what stands behind the slashes, `user:password@host:port`.

use super::{Found, Host};

/// At most so many characters of an authority are read: a name has no more than 253. One that is longer is unreadable.
const MAX_LENGTH: usize = 1024;
/// In at most so many ways. One that could be read in more is unreadable.
const MAX_READINGS: usize = 16;

/// Adds every host that a parser may read at the beginning of `text`.
///
/// `backslash_is_plain`: parsers that know no backslash saw the slashes before it too, and may go on reading behind one.
pub(super) fn read(text: &str, backslash_is_plain: bool, found: &mut Found) {
    // Some read on behind a `?` or `#` up to an `@`; a slash ends it for all.
    let end = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    let length = text
        .char_indices()
        .take(MAX_LENGTH + 1)
        .find(|(_, c)| end(*c));
    let length = match length {
        Some((length, _)) => length,
        None if text.len() <= MAX_LENGTH => text.len(),
        None => return found.unreadable(),
    };
    let parts: Vec<&str> = text.get(..length).unwrap_or_default().split('@').collect();
    for (number, part) in parts.iter().enumerate() {
        let is_first_of_many = number == 0 && parts.len() > 1;
        // What stands before the `@` is user information to all, unless a sign in it ends the host for some.
        if !is_first_of_many || part.contains(|c| is_hard_end(c) || is_soft_end(c)) {
            read_part(part, backslash_is_plain, found);
        }
    }
}

/// Adds every host that a parser may read at the beginning of `part`, in which there is no `@`.
fn read_part(part: &str, backslash_is_plain: bool, found: &mut Found) {
    let is_bracketed = part.starts_with('[');
    let end = part.find(|c| is_hard_end(c) || !is_bracketed && matches!(c, '[' | ']'));
    let (name, behind) = part.split_at(end.unwrap_or(part.len()));
    let goes_on = behind.strip_prefix('\\').is_some_and(|rest| {
        backslash_is_plain && rest.starts_with(|c: char| c.is_alphanumeric() || c == '.')
    });
    if goes_on {
        found.unreadable();
    }
    let has_dots = name.ends_with("..");
    let name = name.trim_end_matches(|c| is_soft_end(c) || (c == '.' && has_dots));
    let cuts = name.match_indices(is_soft_end).map(|(at, _)| at);
    for (number, cut) in cuts.chain([name.len()]).enumerate() {
        if number == MAX_READINGS {
            return found.unreadable();
        }
        add(name.get(..cut).unwrap_or_default(), found);
    }
}

/// Adds the host of `host:port`. Nothing at all names none.
pub(super) fn add(text: &str, found: &mut Found) {
    let (host, port) = match text.find(']') {
        Some(end) if text.starts_with('[') => text.split_at(end + 1),
        _ => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    if host.is_empty() {
        return;
    }
    found.add(Host::parse(host).ok());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_number) {
        found.unreadable();
    }
    // Letters that the older IDNA mapped to others, and today's keeps.
    if host.contains(['ß', 'ẞ', 'ς', '\u{200c}', '\u{200d}']) {
        let older = host.replace(['ß', 'ẞ'], "ss").replace('ς', "σ");
        let older = older.replace(['\u{200c}', '\u{200d}'], "");
        found.add(Host::parse(&older).ok());
    }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Ends the host for every parser.
fn is_hard_end(c: char) -> bool {
    matches!(c, '\\' | '?' | '#' | '<' | '>' | '^' | '|')
}

/// Ends the host for some parsers, and is a part of it for others. At the end of a host it belongs to the text around it.
fn is_soft_end(c: char) -> bool {
    c.is_ascii_punctuation()
        && !is_hard_end(c)
        && !matches!(c, '.' | '-' | '_' | '%' | ':' | '@' | '[' | ']' | '/')
}
