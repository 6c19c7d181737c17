//! The gateway: the one way from a tool call to the outside.
//!
//! A request, hop by hop (the call's own request is hop 0, every redirect one more):
//!
//! 1. The URL is parsed once ([`gatewright_policy::host::Target`]); gate, resolver, TLS and request all use that parse.
//! 2. The gate is asked ([`HopGate`]) and its permit compared with the request.
//! 3. The name is resolved once, and every address must be public or lie in one of the policy's exceptions.
//! 4. A connection is made to one of exactly these addresses. Nothing resolves again, no proxy variable is read.
//! 5. Time, header and body sizes are limited. Nothing is decompressed.
//! 6. A redirect is a new hop: from step 1, with what only the first origin may see left out.
//!
//! Every hop tells `egress.requested` and then `egress.allowed` or `egress.blocked`.
//! The `egress.requested` of hop 0 belongs to the call's intent and is appended before it runs (see [`HopRequest::requested`]);
//! an execution tells what follows it.

mod connect;
mod exchange;
mod fetch;
mod grant;
mod headers;
mod order;
mod redirect;
mod resolve;
mod tls;

use std::path::PathBuf;

pub use gatewright_policy::redact::{Marks, REDACTED, Redacted, Secrets, input as redact_input};
pub use grant::{HopAnswer, HopGate, HopRequest, Rules};
pub use headers::violations as header_violations;
pub use order::{MAX_TIMEOUT, facts, first_hop};
pub use resolve::{Lookup, Resolver};
pub use tls::UnusableGateway;

pub(crate) use fetch::Fetched;

use tls::Tls;

/// How a worker's gateway is set up. What may be reached, and for how long, is the policy's to say (see [`Rules`]).
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A PEM file with certificate authorities to believe beside the public ones.
    pub extra_authorities: Option<PathBuf>,
    /// Who is asked for the addresses of names.
    pub resolver: Resolver,
}

/// The egress gateway of a worker.
pub struct Gateway {
    resolver: Resolver,
    tls: Tls,
}

impl Gateway {
    /// Sets a gateway up; reads the file of extra authorities, if there is one.
    pub fn new(settings: Settings) -> Result<Self, UnusableGateway> {
        Ok(Self {
            resolver: settings.resolver,
            tls: Tls::new(settings.extra_authorities.as_ref())?,
        })
    }
}
