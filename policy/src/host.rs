//! Hosts, parsed once and by one parser, and the patterns that they are matched against.
//!
//! A check that parses a URL one way and a connection that parses it another way is a hole.
//! So a URL becomes a [`Host`] here (through the `url` crate, as browsers do it), everything is matched against that
//! [`Host`], and the egress gateway connects to the [`Target`] that came out of the same parse.

mod pattern;
mod scan;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

pub use pattern::{DomainPattern, DomainSet, InvalidPattern};
pub use scan::{UNREADABLE, hosts_in};
use serde::{Serialize, Serializer};
use url::Url;

pub use crate::address::is_public_address;

/// The longest domain name, in bytes.
const MAX_NAME: usize = 253;

/// A host in its one spelling: a lower-case ASCII (IDNA) name without trailing dot, or an address.
///
/// `127.1`, `0x7f000001`, `2130706433`, `017700000001` and `127.0.0.1.` are all `127.0.0.1`.
/// An IPv6 address that holds an IPv4 address stays what it is; [`is_public_address`] looks inside.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

/// Why a text or URL yields no host that can be matched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {problem}")]
pub struct UnreadableHost {
    /// The refused text, cut to 80 characters and with control characters escaped.
    pub text: String,
    /// What is wrong with it.
    pub problem: HostProblem,
}

/// What is wrong with a URL or host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostProblem {
    /// The `url` crate refuses it.
    #[error("is not a URL or host that can be read")]
    Malformed,
    /// It has no host.
    #[error("has no host")]
    NoHost,
    /// It has a user name or password, which hide the host from a reader and belong into a secret.
    #[error("carries a user name or password; leave them out of the URL")]
    UserInfo,
    /// It is neither `http` nor `https`.
    #[error("is neither http nor https")]
    Scheme,
    /// The input carries more URLs than are looked at.
    #[error(
        "is in an input that carries too many URLs, or URLs encoded too often, to check them all"
    )]
    TooMany,
}

impl UnreadableHost {
    pub(crate) fn new(text: &str, problem: HostProblem) -> Self {
        let text = text.chars().take(80).flat_map(char::escape_debug).collect();
        Self { text, problem }
    }
}

impl Host {
    /// Reads a host: a name in any case or script, an IPv4 address in any spelling, an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, UnreadableHost> {
        let malformed = || UnreadableHost::new(text, HostProblem::Malformed);
        let parsed = url::Host::parse(text).map_err(|_| malformed())?;
        let name = match parsed {
            url::Host::Ipv4(address) => return Ok(Self::from(IpAddr::V4(address))),
            url::Host::Ipv6(address) => return Ok(Self::from(IpAddr::V6(address))),
            url::Host::Domain(name) => name,
        };
        let name = name.strip_suffix('.').unwrap_or(&name);
        if name.len() > MAX_NAME || name.split('.').any(str::is_empty) {
            return Err(malformed());
        }
        Ok(Self(name.into()))
    }

    /// The host of a URL; `None` when it has none (`mailto:`, `data:`, `file:///`).
    pub fn of_url(url: &Url) -> Result<Option<Self>, UnreadableHost> {
        match url.host_str() {
            None | Some("") => Ok(None),
            // Schemes that `url` does not know keep their host as it stands; here every host has the one spelling.
            Some(text) => Self::parse(text).map(Some),
        }
    }

    /// The host as it is matched and recorded; an IPv6 address in brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, when the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        let text = self
            .0
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match text {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => self.0.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(address.to_string().into()),
            IpAddr::V6(address) => Self(format!("[{address}]").into()),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

/// Where an HTTP request goes: the URL as it will be sent and the host as it was matched, out of one parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    host: Host,
}

impl Target {
    /// Reads the URL of an HTTP request. User information is refused, the fragment is dropped.
    pub fn parse(text: &str) -> Result<Self, UnreadableHost> {
        let url =
            Url::parse(text).map_err(|_| UnreadableHost::new(text, HostProblem::Malformed))?;
        Self::of(url, text)
    }

    /// Reads a redirect's `Location`, which may be relative to this target.
    pub fn join(&self, location: &str) -> Result<Self, UnreadableHost> {
        let url = self
            .url
            .join(location)
            .map_err(|_| UnreadableHost::new(location, HostProblem::Malformed))?;
        Self::of(url, location)
    }

    fn of(mut url: Url, text: &str) -> Result<Self, UnreadableHost> {
        let refuse = |problem| UnreadableHost::new(text, problem);
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse(HostProblem::Scheme));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(HostProblem::UserInfo));
        }
        let host = Host::of_url(&url)?.ok_or_else(|| refuse(HostProblem::NoHost))?;
        // What is sent names the host in the spelling that was matched, without a trailing dot.
        url.set_host(Some(host.as_str()))
            .map_err(|_| refuse(HostProblem::Malformed))?;
        url.set_fragment(None);
        Ok(Self { url, host })
    }

    /// The host as it is matched.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The URL as it will be sent.
    pub fn url(&self) -> &Url {
        &self.url
    }
}
