//! A connection to a fleet.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectOptions, Event, ServerError,
    jetstream::{self, context::ContextBuilder, kv::Store},
};
use gatewright_schemas::WriterId;
use tokio::sync::{OnceCell, Semaphore};

use crate::{
    Names,
    append::GroupCommit,
    nkey::UserKey,
    retry::Retry,
    tls::{Tls, is_about_tls},
};

/// The oldest server that a fleet can run on: atomic batches and scheduled messages came with it.
pub const MIN_SERVER: (i64, i64, i64) = (2, 12, 0);

/// How often the server is asked whether it is there: a connection that silently broke is given up after two unanswered pings.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How long an append waits for the server's acknowledgement before it is tried again under the same id.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How a connection proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A credentials file: JWT and seed.
    Jwt(PathBuf),
    /// A file that holds the seed of an nkey, as `gatewright nats-config` writes it.
    Nkey(PathBuf),
}

impl Credentials {
    /// Where it stands.
    pub fn file(&self) -> &Path {
        match self {
            Self::Jwt(file) | Self::Nkey(file) => file,
        }
    }
}

/// How to reach a fleet.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Addresses of the servers, separated by commas; user and password may stand in them.
    pub url: String,
    /// The name of the credential: it stands in the subject of every event that this connection appends.
    pub writer: WriterId,
    /// The fleet's names.
    pub names: Names,
    /// How this connection proves who it is, where the server wants to know.
    pub credentials: Option<Credentials>,
    /// What it believes and shows where TLS is spoken.
    pub tls: Tls,
    /// The server syncs every message to disk before it answers: appends and wake-ups of different runs then go in groups.
    pub group_commit: bool,
}

/// Why a fleet cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server does not answer, or refuses.
    #[error("cannot connect to NATS at `{url}`")]
    Unreachable {
        /// The addresses, without passwords.
        url: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// They do not agree on TLS.
    #[error(
        "cannot speak TLS with NATS at `{url}`: see whether the server's certificate comes from the authority in --tls-ca and names this address, and whether the server asks for a certificate (--tls-client-cert)"
    )]
    Tls {
        /// The addresses, without passwords.
        url: String,
        /// What the client says.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The credentials file cannot be used.
    #[error("cannot read the NATS credentials file `{}`", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The server is too old.
    #[error("nats-server `{name}` has version {found}; Gatewright needs {}.{}.{} or newer: upgrade that server", MIN_SERVER.0, MIN_SERVER.1, MIN_SERVER.2)]
    ServerTooOld {
        /// The server's name.
        name: String,
        /// Its version.
        found: String,
    },
    /// The server runs without JetStream.
    #[error(
        "nats-server `{name}` runs without JetStream: start it with `-js` or a `jetstream` block in its configuration"
    )]
    NoJetStream {
        /// The server's name.
        name: String,
    },
}

impl ConnectError {
    /// Whether waiting can help.
    pub fn is_transient(&self) -> bool {
        use async_nats::ConnectErrorKind as Kind;
        match self {
            Self::Unreachable { source, .. } => {
                matches!(source.kind(), Kind::Io | Kind::TimedOut | Kind::Dns)
            }
            _ => false,
        }
    }
}

impl Credentials {
    /// The options of a client that proves who it is with these.
    async fn put_into(&self, options: ConnectOptions) -> Result<ConnectOptions, ConnectError> {
        let unusable = |path: &Path, source| ConnectError::Credentials {
            path: path.to_owned(),
            source,
        };
        match self {
            Self::Jwt(path) => options
                .credentials_file(path)
                .await
                .map_err(|source| unusable(path, source)),
            Self::Nkey(path) => {
                let key = tokio::fs::read_to_string(path)
                    .await
                    .and_then(|text| UserKey::of_seed(&text).map_err(io::Error::other))
                    .and_then(|key| key.seed().map_err(io::Error::other))
                    .map_err(|source| unusable(path, source))?;
                Ok(options.nkey(key))
            }
        }
    }
}

/// A connection to one fleet under one credential. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) names: Arc<Names>,
    pub(crate) writer: WriterId,
    /// The groups of appends, where they go in groups.
    pub(crate) groups: Option<GroupCommit>,
    /// The groups of wake-ups.
    pub(crate) wake_groups: Option<GroupCommit>,
    refusals: Refusals,
    /// Who may read a page now.
    pub(crate) page_turns: Arc<Semaphore>,
    pub(crate) keys: Arc<OnceCell<Store>>,
}

impl Fleet {
    /// Connects, waiting for a server that is not there yet.
    pub async fn connect(connection: &Connection) -> Result<Self, ConnectError> {
        Retry::for_servers()
            .run("connecting to NATS", ConnectError::is_transient, || {
                Self::connect_once(connection)
            })
            .await
    }

    /// Connects, or says at once why it cannot.
    pub async fn connect_once(connection: &Connection) -> Result<Self, ConnectError> {
        let refusals = Refusals::default();
        let events = refusals.clone();
        let mut options = ConnectOptions::new()
            .name(format!("gatewright {}", connection.writer))
            .custom_inbox_prefix(format!("_INBOX.{}", connection.writer))
            .max_reconnects(None)
            .ping_interval(PING_EVERY)
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis((50_u64 << attempts.min(5)).min(1_000))
            })
            .event_callback(move |event| {
                let events = events.clone();
                async move { events.note(&event) }
            });
        if let Some(credentials) = &connection.credentials {
            options = credentials.put_into(options).await?;
        }
        let servers: Vec<&str> = connection.url.split(',').map(str::trim).collect();
        let client = connection.tls.put_into(options).connect(servers).await;
        let client = client.map_err(|source| {
            let url = without_passwords(&connection.url);
            if is_about_tls(&source) {
                ConnectError::Tls { url, source }
            } else {
                ConnectError::Unreachable { url, source }
            }
        })?;
        let info = client.server_info();
        let (major, minor, patch) = MIN_SERVER;
        if !client.is_server_compatible(major, minor, patch) {
            return Err(ConnectError::ServerTooOld {
                name: info.server_name,
                found: info.version,
            });
        }
        if !info.jetstream {
            return Err(ConnectError::NoJetStream {
                name: info.server_name,
            });
        }
        let jetstream = ContextBuilder::new()
            .ack_timeout(ACK_TIMEOUT)
            .timeout(ACK_TIMEOUT)
            .build(client.clone());
        let names = Arc::new(connection.names.clone());
        let groups = || {
            let wanted = connection.group_commit;
            wanted.then(|| GroupCommit::start(client.clone()))
        };
        let (groups, wake_groups) = (groups(), groups());
        Ok(Self {
            client,
            jetstream,
            names,
            writer: connection.writer.clone(),
            groups,
            wake_groups,
            refusals,
            page_turns: Arc::new(Semaphore::new(crate::pages::AT_ONCE)),
            keys: Arc::default(),
        })
    }

    /// The fleet's names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The credential's name.
    pub fn writer(&self) -> &WriterId {
        &self.writer
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// How often the connection was made, the first time included: another number means another connection.
    pub fn times_connected(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Version and name of the server at the other end.
    pub fn server(&self) -> (String, String) {
        let info = self.client.server_info();
        (info.server_name, info.version)
    }

    /// Sends what is buffered and waits until the server has it.
    pub async fn flush(&self) {
        if let Err(error) = self.client.flush().await {
            tracing::warn!(%error, "could not flush the connection to NATS");
        }
    }

    /// Whether the server refused a publish to `subject` in the last seconds for lack of permission.
    ///
    /// The server tells so beside the answer, not in it: all that the publisher sees of it is a time-out.
    pub(crate) fn was_refused(&self, subject: &str) -> bool {
        self.refusals.lately(subject)
    }
}

/// What the server refused lately.
#[derive(Debug, Clone, Default)]
struct Refusals(Arc<Mutex<VecDeque<(Instant, String)>>>);

impl Refusals {
    const KEPT: usize = 64;
    const LATELY: Duration = Duration::from_secs(30);

    fn note(&self, event: &Event) {
        match event {
            Event::ServerError(ServerError::Other(text))
                if text.to_lowercase().contains("permissions violation") =>
            {
                tracing::error!(error = %text, "the NATS server refused this credential");
                let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                kept.truncate(Self::KEPT);
                kept.push_front((Instant::now(), text.clone()));
            }
            Event::Disconnected => tracing::warn!("the connection to NATS is lost, reconnecting"),
            Event::Connected => tracing::info!("connected to NATS"),
            other => tracing::warn!(event = %other, "NATS connection"),
        }
    }

    fn lately(&self, subject: &str) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .any(|(at, text)| at.elapsed() < Self::LATELY && is_about(text, subject))
    }
}

/// Whether the server's refusal is about a publish to this subject, and not to one that begins or ends like it.
fn is_about(refusal: &str, subject: &str) -> bool {
    const BEFORE: &str = "permissions violation for publish to \"";
    // As long as the text itself: only letters without accents change.
    let begins = refusal.to_ascii_lowercase().find(BEFORE);
    let named = begins.and_then(|at| refusal.get(at + BEFORE.len()..)?.split_once('"'));
    named.is_some_and(|(named, _)| named == subject)
}

/// `url` fit to be shown: whatever stands before an `@` is left out.
pub fn without_passwords(url: &str) -> String {
    let shown = |server: &str| match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => server.to_owned(),
    };
    url.split(',')
        .map(|server| shown(server.trim()))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_about_its_own_subject_alone() {
        let refusal = "Permissions Violation for Publish to \"svc.Orders.new\"";
        assert!(is_about(refusal, "svc.Orders.new"));
        for other in [
            "svc.Orders",
            "svc.orders.new",
            "Orders.new",
            "svc.Orders.new.x",
            "publish",
            "",
            "\"",
        ] {
            assert!(!is_about(refusal, other), "{other}");
        }
        // Of what may not be listened to: nothing was sent there.
        let other = "Permissions Violation for Subscription to \"svc.Orders.new\"";
        assert!(!is_about(other, "svc.Orders.new"));
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            without_passwords("nats://me:se@cret@127.0.0.1:4222, b:4222"),
            "nats://127.0.0.1:4222,b:4222"
        );
    }
}
