//! From a name to addresses, once per hop.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Answers a name with addresses.
pub type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Who is asked for the addresses of a name.
///
/// Each hop asks once, and connects to one of the very addresses that were checked:
/// a name that answers differently the second time gains nothing.
#[derive(Clone, Default)]
pub enum Resolver {
    /// The operating system.
    #[default]
    System,
    /// A table or another source; it must not block.
    Custom(Arc<Lookup>),
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Custom(_) => "Custom",
        })
    }
}

impl Resolver {
    /// The addresses of `name`, each once, never none.
    pub(super) async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = match self {
            Self::System => tokio::net::lookup_host((name, port)).await?.collect(),
            Self::Custom(lookup) => {
                let found = lookup(name)?.into_iter();
                found.map(|ip| SocketAddr::new(ip, port)).collect()
            }
        };
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no address"));
        }
        Ok(addresses)
    }
}
