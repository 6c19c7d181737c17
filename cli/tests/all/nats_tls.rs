//! TLS to a real nats-server, both ways.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    nats_config::{Server, configure},
    support::{Done, run},
};

/// An authority whose certificate is in `<name>.pem`.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.join(format!("{name}.pem")), issuer.pem()).unwrap();
        Self(issuer)
    }

    /// Writes a certificate for the loopback to `<name>.pem`, and its key to `<name>.key`.
    fn issue(&self, dir: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Two authorities, a server of one of them, and a client of each.
fn pki(dir: &Path) {
    let (ours, others) = (Authority::new(dir, "ca"), Authority::new(dir, "other-ca"));
    ours.issue(dir, "server");
    ours.issue(dir, "client");
    others.issue(dir, "stranger");
}

const SERVER: [&str; 4] = ["--tls-cert", "server.pem", "--tls-key", "server.key"];

fn provision(server: &Server, flags: &[&str]) -> Done {
    let arguments: Vec<&str> = ["provision"].iter().chain(flags).copied().collect();
    server.ask(Some("provisioner.nk"), &arguments)
}

/// It is refused, and told why at once rather than tried again and again.
fn is_refused(done: &Done) {
    assert_eq!(done.code, 4, "{done:#?}");
    assert!(
        done.err.contains("cannot speak TLS") && done.err.contains("--tls-ca"),
        "{done:#?}"
    );
}

#[test]
fn a_server_is_believed_by_its_authority_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    pki(dir);
    configure(dir, &SERVER).ends(0);
    let server = Server::start(dir);
    is_refused(&provision(&server, &["--tls-ca", "other-ca.pem"]));
    is_refused(&provision(&server, &[]));
    provision(&server, &["--tls-ca", "ca.pem"]).ends(0);
    let mut command = server.command(Some("operator.nk"), &["worker", "list", "--json"]);
    command.env("GATEWRIGHT_TLS_CA", dir.join("ca.pem"));
    run(command, "").ends(0);
}

#[test]
fn a_server_that_verifies_its_clients_refuses_who_has_no_certificate_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    pki(dir);
    let flags: Vec<&str> = SERVER
        .iter()
        .chain(&["--tls-client-ca", "ca.pem"])
        .copied()
        .collect();
    configure(dir, &flags).ends(0);
    let server = Server::start(dir);
    let with = |certificate: &str| {
        let (shown, key) = (format!("{certificate}.pem"), format!("{certificate}.key"));
        let flags = [
            "--tls-ca",
            "ca.pem",
            "--tls-client-cert",
            &shown,
            "--tls-client-key",
            &key,
        ];
        provision(&server, &flags)
    };
    is_refused(&provision(&server, &["--tls-ca", "ca.pem"]));
    is_refused(&with("stranger"));
    with("client").ends(0);
}

#[test]
fn a_certificate_without_its_key_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    pki(dir);
    configure(dir, &["--tls-client-ca", "ca.pem"]).ends(2);
    configure(dir, &[]).ends(0);
    let server = Server::start(dir);
    let half = provision(&server, &["--tls-client-cert", "client.pem"]).ends(2);
    assert!(half.err.contains("--tls-client-key"), "{half:#?}");
    let missing = provision(&server, &["--tls-ca", "nowhere.pem"]).ends(2);
    assert!(missing.err.contains("nowhere.pem"), "{missing:#?}");
    // Where the server speaks none, nothing is said to it in clear.
    is_refused(&provision(&server, &["--tls-ca", "ca.pem"]));
}
