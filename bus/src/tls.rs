//! TLS between a connection and the NATS server.

use std::{error::Error, io, path::PathBuf};

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};

/// What a connection believes, and what it shows, when it speaks TLS.
///
/// It speaks TLS when the server wants it, or its address begins with `tls://`, or authorities are given here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with the authorities that may vouch for the server, and no others; the system's when left out.
    pub authorities: Option<PathBuf>,
    /// For a server that asks who its clients are.
    pub certificate: Option<ClientCertificate>,
}

/// A certificate that is shown to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A PEM file with it, and with those that lead to an authority.
    pub certificate: PathBuf,
    /// A PEM file with its key.
    pub key: PathBuf,
}

impl Tls {
    /// The options of a client that speaks TLS so.
    pub(crate) fn put_into(&self, mut options: ConnectOptions) -> ConnectOptions {
        if let Some(authorities) = &self.authorities {
            options = options
                .add_root_certificates(authorities.clone())
                .require_tls(true);
        }
        if let Some(shown) = &self.certificate {
            options = options.add_client_certificate(shown.certificate.clone(), shown.key.clone());
        }
        options
    }
}

/// Whether both sides could not agree on TLS: then they will not the next time either.
pub(crate) fn is_about_tls(error: &ConnectError) -> bool {
    if error.kind() == ConnectErrorKind::Tls {
        return true;
    }
    let mut source = error.source();
    while let Some(error) = source {
        // What a handshake ends with comes as invalid data; of the wire's own faults none does.
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::InvalidData
        {
            return true;
        }
        source = error.source();
    }
    false
}
