//! Where in a text a URL may begin.

use super::{Found, Host, authority, is_special};

/// Adds the hosts of every URL within `text`.
pub(super) fn each(text: &str, found: &mut Found) {
    for (at, c) in text.char_indices() {
        let (before, from) = text.split_at(at);
        match c {
            ':' => after_colon(before, from.get(1..).unwrap_or_default(), found),
            '/' | '\\' => after_slash(before, from, found),
            '@' => after_at(before, from.get(1..).unwrap_or_default(), found),
            _ => {}
        }
    }
    if let Some(host) = with_port(text) {
        found.add(Some(host));
    }
}

/// `scheme:` and two slashes of either kind; of the schemes of the web any number of them.
fn after_colon(before: &str, rest: &str, found: &mut Found) {
    let behind = rest.trim_start_matches(is_slash);
    let slashes = rest.len() - behind.len();
    let scheme = scheme_at_end(before);
    if scheme.eq_ignore_ascii_case("file") {
        // `file:///path` is of this machine; with a fourth slash some read a share of another.
        if slashes == 2 || slashes > 3 {
            authority::read(behind, false, found);
        }
    } else if slashes >= 2 {
        authority::read(behind, rest.starts_with('/'), found);
    } else if is_special(scheme) && !behind.starts_with(char::is_whitespace) {
        authority::read(behind, false, found);
    }
}

/// `//host`, with either kind of slash, where a word or a quoted one begins.
fn after_slash(before: &str, from: &str, found: &mut Found) {
    let begins = match before.chars().next_back() {
        None => true,
        Some(c) => c.is_whitespace() || c.is_control() || "\"'`=(<>,;[{|&".contains(c),
    };
    if !begins {
        return;
    }
    let behind = from.trim_start_matches(is_slash);
    if from.len() - behind.len() < 2 {
        return;
    }
    // In a text `//todo` is a comment. With a blank before it, only what has a dot, port or bracket is a host's name.
    let is_word = before.ends_with(char::is_whitespace);
    let word = behind.split(is_end_of_word).next().unwrap_or_default();
    if is_word && !word.contains(['.', ':', '[', '@', '\u{3002}']) && word != "localhost" {
        return;
    }
    authority::read(behind, from.starts_with('/'), found);
}

/// `user@host:path`, as `scp` and `git` have it.
fn after_at(before: &str, rest: &str, found: &mut Found) {
    let has_user = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let behind = rest.trim_start_matches(is_in_name);
    let path = behind.strip_prefix(':').unwrap_or_default();
    if has_user && path.starts_with(|c: char| !c.is_whitespace()) {
        let (host, _) = rest.split_at(rest.len() - behind.len());
        authority::add(host, found);
    }
}

/// `host:port` and nothing else, also behind an option's `--name=`.
///
/// The name must have a dot or be `localhost`: `12:30` and `id:42` are none.
fn with_port(text: &str) -> Option<Host> {
    let text = text.trim();
    let text = match text.split_once('=') {
        Some((option, value)) if option.starts_with('-') => value,
        _ => text,
    };
    let (host, port) = text.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let is_name = host.contains('.') && host.chars().all(is_in_name);
    let names = is_bracketed || is_name || host.eq_ignore_ascii_case("localhost");
    if is_port && names {
        Host::parse(host).ok()
    } else {
        None
    }
}

fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\\')
}

fn is_in_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '%') || !c.is_ascii()
}

fn is_end_of_word(c: char) -> bool {
    is_slash(c) || c.is_whitespace() || c.is_control()
}

/// The scheme that ends at the end of `text`; empty when none does.
fn scheme_at_end(text: &str) -> &str {
    let is_in_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let cut = text.trim_end_matches(is_in_scheme);
    text.get(cut.len()..).unwrap_or_default()
}
