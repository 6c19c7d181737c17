//! Domain patterns: a name or address, `*.example.com`, or `*`.

use std::{borrow::Cow, collections::HashSet, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Host;

/// Which hosts a rule means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DomainPattern {
    /// `*`: every host, addresses included.
    Any,
    /// `*.example.com`: the apex `example.com` and every name below it.
    Below(Host),
    /// This host alone.
    Exact(Host),
}

/// Why a text is no domain pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a domain pattern: give a host, `*.example.com` or `*`, without scheme, port or path"
)]
pub struct InvalidPattern {
    /// The refused text, cut to 80 characters and with control characters escaped.
    pub text: String,
}

impl DomainPattern {
    /// Whether `host` is meant.
    pub fn matches(&self, host: &Host) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == host,
            Self::Below(apex) => is_at_or_below(host, apex),
        }
    }

    /// Whether every host that `other` means is meant by this pattern too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(apex), Self::Below(host) | Self::Exact(host)) => {
                is_at_or_below(host, apex)
            }
            (Self::Exact(one), Self::Exact(other)) => one == other,
            _ => false,
        }
    }

    /// The pattern that means the hosts of both: always one of the two, or nothing.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        if self.covers(other) {
            Some(other)
        } else if other.covers(self) {
            Some(self)
        } else {
            None
        }
    }
}

fn is_at_or_below(host: &Host, apex: &Host) -> bool {
    host.address().is_none()
        && host
            .as_str()
            .strip_suffix(apex.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl FromStr for DomainPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = || InvalidPattern {
            text: text.chars().take(80).flat_map(char::escape_debug).collect(),
        };
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains(['*', '%']) || name.chars().any(char::is_whitespace) {
            return Err(invalid());
        }
        let host = Host::parse(name).map_err(|_| invalid())?;
        match (below, host.address()) {
            (false, _) => Ok(Self::Exact(host)),
            (true, None) => Ok(Self::Below(host)),
            (true, Some(_)) => Err(invalid()),
        }
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(apex) => write!(f, "*.{apex}"),
            Self::Exact(host) => write!(f, "{host}"),
        }
    }
}

impl Serialize for DomainPattern {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DomainPattern {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DomainPattern {
    fn schema_name() -> Cow<'static, str> {
        "DomainPattern".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "format": "domain-pattern", "maxLength": 300,
            "description": "A host, `*.example.com` (the apex and every subdomain), or `*`."
        })
    }
}

/// Many patterns, asked in time that does not grow with their number: one lookup for each label of the host.
#[derive(Debug, Clone, Default)]
pub struct DomainSet {
    any: bool,
    exact: HashSet<Box<str>>,
    below: HashSet<Box<str>>,
}

impl DomainSet {
    /// Whether any pattern of the set means `host`.
    pub fn contains(&self, host: &Host) -> bool {
        self.any || self.exact.contains(host.as_str()) || self.covers_from_above(host)
    }

    fn covers_from_above(&self, host: &Host) -> bool {
        if self.below.is_empty() || host.address().is_some() {
            return false;
        }
        let mut name = Some(host.as_str());
        while let Some(suffix) = name {
            if self.below.contains(suffix) {
                return true;
            }
            name = suffix.split_once('.').map(|(_, rest)| rest);
        }
        false
    }

    /// Whether the set means no host at all.
    pub fn is_empty(&self) -> bool {
        !self.any && self.exact.is_empty() && self.below.is_empty()
    }
}

impl<'a> FromIterator<&'a DomainPattern> for DomainSet {
    fn from_iter<I: IntoIterator<Item = &'a DomainPattern>>(patterns: I) -> Self {
        let mut set = Self::default();
        for pattern in patterns {
            match pattern {
                DomainPattern::Any => set.any = true,
                DomainPattern::Exact(host) => _ = set.exact.insert(host.as_str().into()),
                DomainPattern::Below(apex) => _ = set.below.insert(apex.as_str().into()),
            }
        }
        set
    }
}
