//! By which names secrets are recognised.
//!
//! - Headers: the well-known ones (`authorization`, `cookie`, …) and any whose name speaks of a token, secret, password, key or credential.
//! - JSON fields and query parameters: names such as `password`, `client_secret`, `api_key`, `accessToken`.
//! - Whatever the policy marks beside them.

use std::collections::BTreeSet;

use crate::document;

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

    /// What holds where no policy says more.
    pub fn by_default() -> Self {
        Self::from(&document::Egress::default())
    }

    /// The places in a call's input that are secret.
    pub(super) fn pointers(&self) -> &[String] {
        &self.pointers
    }

    /// Whether the value of this header is secret.
    pub fn header(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.headers.contains(&name) || self.names.contains(&name) || secret_header(&name)
    }

    /// Whether the value of this JSON field is secret.
    pub(super) fn field(&self, name: &str) -> bool {
        self.names.contains(&name.to_ascii_lowercase()) || secret_field(name)
    }

    /// Whether the value of this query parameter is secret.
    pub(super) fn parameter(&self, name: &str) -> bool {
        self.field(name) || matches!(name.to_ascii_lowercase().as_str(), "key" | "sig")
    }
}

impl From<&document::Egress> for Marks {
    fn from(egress: &document::Egress) -> Self {
        Self::new(&egress.redact_headers, &egress.redact_fields)
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
