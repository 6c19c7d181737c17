//! What a request prefers (RFC 7240), and the key under which it may be sent again.

use std::time::Duration;

use axum::http::HeaderMap;

use super::problem::Problem;

/// How long an answer is waited for where the request does not say.
const WAIT: Duration = Duration::from_secs(10);
/// How long at most.
const MOST_WAIT: Duration = Duration::from_mins(1);
/// Characters of a key at most.
const MOST_KEY: usize = 200;

/// How long the request wants to wait for what it asked for: `Prefer: wait=SECONDS`, or `respond-async` for not at all.
///
/// What is not understood is ignored, as the RFC wants.
pub(super) fn wait_of(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all("prefer");
    let preferences = lines
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|one| one.split(';').next().unwrap_or_default().trim());
    let mut is_async = false;
    for preference in preferences {
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("wait")
            && let Ok(seconds) = value.parse()
        {
            return Duration::from_secs(seconds).min(MOST_WAIT);
        }
        is_async |= name.eq_ignore_ascii_case("respond-async");
    }
    if is_async { Duration::ZERO } else { WAIT }
}

/// The key under which the request may be sent again: the header `Idempotency-Key`, quoted or not.
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut lines = headers.get_all("idempotency-key").iter();
    let bad = || {
        Problem::bad_request(format!(
            "Idempotency-Key: once, from 1 to {MOST_KEY} printable ASCII characters"
        ))
    };
    let (line, more) = (lines.next(), lines.next());
    let Some(line) = line else {
        return Ok(None);
    };
    let text = line.to_str().map_err(|_| bad())?.trim();
    let is_quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let key = if is_quoted {
        text.get(1..text.len() - 1).unwrap_or_default()
    } else {
        text
    };
    if more.is_some() || key.is_empty() || key.len() > MOST_KEY {
        return Err(bad());
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn a_wait_is_bounded_and_what_is_not_understood_is_ignored() {
        let wait = |lines: &[&str]| wait_of(&headers("prefer", lines)).as_secs();
        assert_eq!(wait(&[]), 10);
        assert_eq!(wait(&["wait=3"]), 3);
        assert_eq!(wait(&["respond-async, wait=3"]), 3);
        assert_eq!(wait(&["return=minimal", "WAIT = \"7\""]), 7);
        assert_eq!(wait(&["wait=0"]), 0);
        assert_eq!(wait(&["respond-async"]), 0);
        assert_eq!(wait(&["wait=86400"]), 60);
        assert_eq!(wait(&["wait=-1"]), 10);
        assert_eq!(wait(&["wait=soon"]), 10);
        assert_eq!(wait(&["wait=99999999999999999999"]), 10);
    }

    #[test]
    fn a_key_is_one_and_short() {
        let key = |lines: &[&str]| key_of(&headers("idempotency-key", lines));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&["k1"]).unwrap().as_deref(), Some("k1"));
        assert_eq!(key(&["\"k1\""]).unwrap().as_deref(), Some("k1"));
        for bad in [
            &["", "x"][..],
            &["\"\""],
            &[""],
            &["a", "b"],
            &["x".repeat(201).as_str()],
        ] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
    }
}
