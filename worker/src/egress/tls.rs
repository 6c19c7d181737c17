//! TLS: whom the gateway believes.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Why the gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum UnusableGateway {
    /// The file with further certificate authorities cannot be read.
    #[error("the certificate authorities in `{}` cannot be read", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// It holds nothing that is one.
    #[error("`{}` holds no certificate authority that can be used (PEM is expected)", .0.display())]
    NoAuthority(PathBuf),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Connects over TLS, verifying the server's certificate for the URL's host.
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Believes the public authorities that are built in, and those in the PEM file `extra`.
    pub fn new(extra: Option<&PathBuf>) -> Result<Self, UnusableGateway> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(path) = extra {
            let unreadable = |source| UnusableGateway::Authorities {
                path: path.clone(),
                source,
            };
            let certificates = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(unreadable)?;
            let (usable, _) = roots.add_parsable_certificates(certificates);
            if usable == 0 {
                return Err(UnusableGateway::NoAuthority(path.clone()));
            }
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Shakes hands over `stream` with the server that `host` (a name, or an IP address without brackets) names.
    pub async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, stream).await
    }
}
