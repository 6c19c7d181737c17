use std::{net::IpAddr, path::PathBuf, sync::Arc};

use gatewright_schemas::ReasonCode;
use gatewright_worker::egress::{Gateway, Resolver, Settings, UnusableGateway};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;

use crate::{
    gate::{OPEN, World, assert_code, error, output, told},
    server::{Received, Reply, Server},
};

/// An authority in a file of its own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    async fn server(
        &self,
        name: &str,
        answer: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Server::start_tls(&certificate, &key, answer).await
    }
}

fn world(authorities: Option<PathBuf>) -> World {
    let resolver = Resolver::Custom(Arc::new(|_| Ok(vec![IpAddr::from([127, 0, 0, 1])])));
    World::with(
        OPEN,
        Settings {
            extra_authorities: authorities,
            resolver,
        },
    )
}

#[tokio::test]
async fn certificates_are_verified_for_the_urls_host() {
    let authority = Authority::new();
    let server = authority
        .server("secure.example", |_| Reply::text("sealed"))
        .await;
    let port = server.address.port();
    let right = json!({ "target_url": format!("https://Secure.Example.:{port}/") });

    let execution = world(Some(authority.file())).request(right.clone()).await;
    assert_eq!(output(&execution)["body"], "sealed");

    let unknown = world(None).request(right).await;
    let other = json!({ "target_url": format!("https://other.example:{port}/") });
    let misnamed = world(Some(authority.file())).request(other).await;
    for execution in [unknown, misnamed] {
        assert_code(&execution, ReasonCode::EgressConnectionFailed);
        assert!(
            error(&execution).reason.contains("TLS"),
            "{:?}",
            error(&execution)
        );
        assert!(told(&execution)[0].ends_with(" -"));
    }
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn an_address_can_be_the_host_of_an_https_url() {
    let authority = Authority::new();
    let server = authority
        .server("127.0.0.1", |_| Reply::text("sealed"))
        .await;
    let url = format!("https://127.0.0.1:{}/", server.address.port());
    let execution = world(Some(authority.file()))
        .request(json!({ "target_url": url }))
        .await;
    assert_eq!(output(&execution)["body"], "sealed");
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let plain = Server::start(|_| Reply::text("")).await;
    let to = plain.url("/");
    let authority = Authority::new();
    let server = authority
        .server("127.0.0.1", move |_| Reply::redirect(302, &to))
        .await;
    let url = format!("https://127.0.0.1:{}/", server.address.port());
    let execution = world(Some(authority.file()))
        .request(json!({ "target_url": url }))
        .await;
    assert_code(&execution, ReasonCode::EgressUrlInvalid);
    let expected = [
        "allowed 0 127.0.0.1 302",
        "requested 1 127.0.0.1",
        "blocked 1 127.0.0.1 egress_url_invalid",
    ];
    assert_eq!(told(&execution), expected);
    assert!(plain.received().is_empty());
}

#[test]
fn a_file_without_authorities_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let with = |path: PathBuf| {
        Gateway::new(Settings {
            extra_authorities: Some(path),
            ..Settings::default()
        })
        .err()
    };
    assert!(matches!(with(empty), Some(UnusableGateway::NoAuthority(_))));
    let missing = with(folder.path().join("missing.pem")).unwrap();
    assert!(matches!(missing, UnusableGateway::Authorities { .. }));
    assert!(missing.to_string().contains("missing.pem"));
}
