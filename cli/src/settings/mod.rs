//! Settings: from the command line, else the environment, else the file of `--config`, else the `gatewright dev` that runs here.
//!
//! All of them are read and checked before anything starts, and everything that is wrong is told at once, with its place.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments of arguments are their help texts, which show backticks as they are"
)]

mod connection_file;
mod file;
mod read;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use gatewright_bus::{ClientCertificate, Connection, Credentials, Names, Tls};
use gatewright_schemas::{WriterId, Zone};

pub use connection_file::ConnectionFile;
pub use read::BadSettings;
use read::{Reader, Setting};
/// Every variable of the environment that a role or a verb looks for.
pub use setting::VARIABLES;

/// Where a NATS server is looked for when nothing says where.
const DEFAULT_NATS_URL: &str = "nats://127.0.0.1:4222";

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What every command takes. The values are checked together with those of the environment and the file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct CommonFlags {
    /// Addresses of the NATS servers, separated by commas [env: NATS_URL] [default: nats://127.0.0.1:4222]
    #[arg(long, global = true, value_name = "URL")]
    pub nats_url: Option<String>,
    /// A NATS credentials file [env: NATS_CREDS]
    #[arg(long, global = true, value_name = "FILE")]
    pub nats_creds: Option<String>,
    /// A file with the seed of a NATS nkey, as `nats-config` writes it [env: NATS_NKEY]
    #[arg(long, global = true, value_name = "FILE")]
    pub nats_nkey: Option<String>,
    /// A PEM file with the authorities that may vouch for the NATS servers: TLS is then spoken, and no other believed [env: GATEWRIGHT_TLS_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_ca: Option<String>,
    /// A PEM file with the certificate to show to NATS servers that ask for one [env: GATEWRIGHT_TLS_CLIENT_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_client_cert: Option<String>,
    /// A PEM file with that certificate's key [env: GATEWRIGHT_TLS_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_client_key: Option<String>,
    /// The fleet's prefix of subjects and streams [env: GATEWRIGHT_PREFIX] [default: fleet]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub prefix: Option<String>,
    /// The Postgres database [env: DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// The name of the credential under which to speak to NATS [env: GATEWRIGHT_NAME]
    // An id of its own: a command's own argument `name` must not be taken for it.
    #[arg(id = "credential", long = "name", global = true, value_name = "TOKEN")]
    pub name: Option<String>,
    /// A TOML file with any of these settings, `nats_url = "…"` and so on [env: GATEWRIGHT_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<String>,
    /// How the log on standard error is written: text or json [env: GATEWRIGHT_LOG; what is in it: RUST_LOG]
    #[arg(long, global = true, value_name = "FORM")]
    pub log: Option<String>,
}

/// What roles take besides.
#[derive(Debug, Clone, Default, Args)]
pub struct RoleFlags {
    /// Append in groups: for servers that sync every message to the disk [env: GATEWRIGHT_GROUP_COMMIT] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub group_commit: Option<String>,
    /// Serve metrics for Prometheus and the role's health there, over plain HTTP [env: GATEWRIGHT_METRICS] [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<String>,
}

/// What a worker takes besides.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkerFlags {
    /// Runs that it moves at once [env: GATEWRIGHT_CONCURRENCY] [default: 64]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<String>,
    /// The zones that it serves: sandbox, supervised, high_stakes [env: GATEWRIGHT_ZONES] [default: all]
    #[arg(long, value_name = "LIST")]
    pub zones: Option<String>,
    /// How long it goes on with what it holds when it is to stop [env: GATEWRIGHT_DRAIN_PATIENCE] [default: 25s]
    #[arg(long, value_name = "PERIOD")]
    pub drain_patience: Option<String>,
    /// How many workers in a row may die on a run before it is given up [env: GATEWRIGHT_MAX_CRASHES] [default: 5]
    #[arg(long, value_name = "N")]
    pub max_crashes: Option<String>,
    /// A PEM file with certificate authorities that egress believes beside the public ones [env: GATEWRIGHT_EGRESS_AUTHORITIES]
    #[arg(long, value_name = "FILE")]
    pub egress_authorities: Option<String>,
    /// Where runs have their directories in the sandbox for commands; every folder on the way must be open to all [env: GATEWRIGHT_SANDBOX_DIR] [default: gatewright-sandbox-UID in the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub sandbox_dir: Option<String>,
    /// Which tools there are beside Gatewright's own.
    #[command(flatten)]
    pub tools: ToolFlags,
}

/// What whoever looks at tools takes besides.
#[derive(Debug, Clone, Default, Args)]
pub struct ToolFlags {
    /// A TOML file that declares tools of your own; the same for every worker [env: GATEWRIGHT_TOOLS]
    #[arg(long, value_name = "FILE")]
    pub tools: Option<String>,
}

/// Everything that was set on the command line.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// Of every command.
    pub common: CommonFlags,
    /// Of roles.
    pub role: RoleFlags,
    /// Of workers.
    pub worker: WorkerFlags,
}

/// What a worker is set to.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Runs that it moves at once.
    pub concurrency: usize,
    /// The zones that it serves.
    pub zones: Vec<Zone>,
    /// How long it drains.
    pub drain_patience: Duration,
    /// How many workers in a row may die on a run.
    pub max_crashes: u32,
    /// Certificate authorities beside the public ones.
    pub egress_authorities: Option<PathBuf>,
    /// Where runs have their directories in the sandbox for commands.
    pub sandbox_dir: Option<PathBuf>,
    /// The file of the user's own tools.
    pub tools: Option<PathBuf>,
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses of the NATS servers.
    pub nats_url: String,
    /// How to prove to NATS who this is.
    pub nats_credentials: Option<Credentials>,
    /// What is believed and shown where NATS speaks TLS.
    pub tls: Tls,
    /// The fleet's names.
    pub names: Names,
    /// The database, where one is named.
    pub database_url: Option<String>,
    /// The name of the credential, where one is given.
    pub name: Option<WriterId>,
    /// Whether appends go in groups.
    pub group_commit: bool,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// How the log is written.
    pub log: LogFormat,
    /// The file in which some of this stands, where one was named.
    pub file: Option<PathBuf>,
    /// What a worker is set to.
    pub worker: WorkerSettings,
    /// The file of a `gatewright dev` from which the addresses come, where nothing else named any.
    pub from_dev: Option<PathBuf>,
}

impl Settings {
    /// Reads all settings from where they may stand.
    pub fn read(flags: &Flags) -> Result<Self, BadSettings> {
        let common = &flags.common;
        let mut reader = Reader::open(common.config.as_deref());
        let log = reader.parsed(&setting::LOG, common.log.as_ref(), read::log_format);
        let mut nats_url =
            reader.parsed(&setting::NATS_URL, common.nats_url.as_ref(), read::nats_url);
        let mut database_url = reader.parsed(
            &setting::DATABASE_URL,
            common.database_url.as_ref(),
            read::database_url,
        );
        let mut names = reader.parsed(&setting::PREFIX, common.prefix.as_ref(), |text| {
            Names::new(text).map_err(|error| error.to_string())
        });
        let nats_creds =
            reader.parsed(&setting::NATS_CREDS, common.nats_creds.as_ref(), read::path);
        let nats_nkey = reader.parsed(&setting::NATS_NKEY, common.nats_nkey.as_ref(), read::path);
        let nkey_name = nats_nkey
            .as_ref()
            .and_then(|path| WriterId::new(path.file_stem()?.to_str()?).ok());
        // The nkey wins where both are set; a server wants one of them.
        let mut nats_credentials = nats_nkey
            .map(Credentials::Nkey)
            .or_else(|| nats_creds.map(Credentials::Jwt));
        let tls = Self::read_tls(&mut reader, common);
        let name = reader.parsed(&setting::NAME, common.name.as_ref(), |text| {
            WriterId::new(text).map_err(|error| error.to_string())
        });
        let group_commit = reader.parsed(
            &setting::GROUP_COMMIT,
            flags.role.group_commit.as_ref(),
            read::boolean,
        );
        let metrics = reader.parsed(
            &setting::METRICS,
            flags.role.metrics.as_ref(),
            read::address,
        );
        let worker = Self::read_worker(&mut reader, &flags.worker);

        // Either all of a dev fleet or nothing: its database beside another NATS would be a mixture.
        let mut from_dev = None;
        if nats_url.is_none()
            && database_url.is_none()
            && reader.is_sound()
            && let Some((path, found)) = ConnectionFile::of_this_directory()
        {
            nats_url = Some(found.nats_url);
            nats_credentials = nats_credentials.or(Some(Credentials::Nkey(found.nats_nkey)));
            database_url = Some(found.database_url);
            names = names.or(Names::new(&found.prefix).ok());
            from_dev = Some(path);
        }
        let file = reader.file().map(PathBuf::from);
        reader.finish()?;
        Ok(Self {
            file,
            nats_url: nats_url.unwrap_or_else(|| DEFAULT_NATS_URL.into()),
            nats_credentials,
            tls,
            names: names.unwrap_or_default(),
            database_url,
            // A credential of `nats-config` is good for one name, and its file bears it.
            name: name.or(nkey_name),
            group_commit: group_commit.unwrap_or(false),
            metrics,
            log: log.unwrap_or_default(),
            worker,
            from_dev,
        })
    }

    fn read_tls(reader: &mut Reader, flags: &CommonFlags) -> Tls {
        let mut file = |setting, flag| reader.parsed(setting, flag, read::path);
        let authorities = file(&setting::TLS_CA, flags.tls_ca.as_ref());
        let shown = file(&setting::TLS_CLIENT_CERT, flags.tls_client_cert.as_ref());
        let key = file(&setting::TLS_CLIENT_KEY, flags.tls_client_key.as_ref());
        let certificate = match (shown, key) {
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            (None, None) => None,
            _ if reader.is_sound() => {
                reader.fault(format!(
                    "`{}` and `{}` go together: give both or neither",
                    setting::TLS_CLIENT_CERT.flag,
                    setting::TLS_CLIENT_KEY.flag
                ));
                None
            }
            // One of them could not be read, and that is told.
            _ => None,
        };
        Tls {
            authorities,
            certificate,
        }
    }

    fn read_worker(reader: &mut Reader, flags: &WorkerFlags) -> WorkerSettings {
        let default = gatewright_worker::WorkerConfig::default();
        WorkerSettings {
            concurrency: reader
                .parsed(&setting::CONCURRENCY, flags.concurrency.as_ref(), |text| {
                    read::number_within(text, &(1..=100_000))
                })
                .unwrap_or(default.concurrency),
            zones: reader
                .parsed(&setting::ZONES, flags.zones.as_ref(), read::zones)
                .unwrap_or(default.zones),
            drain_patience: reader
                .parsed(
                    &setting::DRAIN_PATIENCE,
                    flags.drain_patience.as_ref(),
                    read::period,
                )
                .unwrap_or(default.drain_patience),
            max_crashes: reader
                .parsed(&setting::MAX_CRASHES, flags.max_crashes.as_ref(), |text| {
                    read::number_within(text, &(1..=1_000))
                })
                .unwrap_or(default.max_crashes),
            egress_authorities: reader.parsed(
                &setting::EGRESS_AUTHORITIES,
                flags.egress_authorities.as_ref(),
                read::path,
            ),
            sandbox_dir: reader.parsed(
                &setting::SANDBOX_DIR,
                flags.sandbox_dir.as_ref(),
                read::absolute,
            ),
            tools: reader.parsed(&setting::TOOLS, flags.tools.tools.as_ref(), read::path),
        }
    }

    /// How to reach the fleet, under the name that was set or else `default_name`.
    pub fn connection(&self, default_name: &WriterId) -> Connection {
        Connection {
            url: self.nats_url.clone(),
            writer: self.name.clone().unwrap_or_else(|| default_name.clone()),
            names: self.names.clone(),
            credentials: self.nats_credentials.clone(),
            tls: self.tls.clone(),
            group_commit: self.group_commit,
        }
    }
}

/// Every setting and how it is spelt.
mod setting {
    use super::Setting;

    macro_rules! settings {
        ($($name:ident = $key:literal, $flag:literal, $env:literal;)+) => {
            $(pub(super) const $name: Setting = Setting { key: $key, flag: $flag, env: $env };)+
            /// The keys that a file may have.
            pub(super) const KEYS: &[&str] = &[$($key),+];
            /// Those and what is looked for in the environment alone.
            pub const VARIABLES: &[&str] = &[
                $($env,)+
                "GATEWRIGHT_CONFIG",
                crate::health::FILE,
                "RUST_LOG",
            ];
        };
    }

    settings! {
        NATS_URL = "nats_url", "--nats-url", "NATS_URL";
        NATS_CREDS = "nats_creds", "--nats-creds", "NATS_CREDS";
        NATS_NKEY = "nats_nkey", "--nats-nkey", "NATS_NKEY";
        TLS_CA = "tls_ca", "--tls-ca", "GATEWRIGHT_TLS_CA";
        TLS_CLIENT_CERT = "tls_client_cert", "--tls-client-cert", "GATEWRIGHT_TLS_CLIENT_CERT";
        TLS_CLIENT_KEY = "tls_client_key", "--tls-client-key", "GATEWRIGHT_TLS_CLIENT_KEY";
        PREFIX = "prefix", "--prefix", "GATEWRIGHT_PREFIX";
        DATABASE_URL = "database_url", "--database-url", "DATABASE_URL";
        NAME = "name", "--name", "GATEWRIGHT_NAME";
        LOG = "log", "--log", "GATEWRIGHT_LOG";
        GROUP_COMMIT = "group_commit", "--group-commit", "GATEWRIGHT_GROUP_COMMIT";
        METRICS = "metrics", "--metrics", "GATEWRIGHT_METRICS";
        CONCURRENCY = "concurrency", "--concurrency", "GATEWRIGHT_CONCURRENCY";
        ZONES = "zones", "--zones", "GATEWRIGHT_ZONES";
        DRAIN_PATIENCE = "drain_patience", "--drain-patience", "GATEWRIGHT_DRAIN_PATIENCE";
        MAX_CRASHES = "max_crashes", "--max-crashes", "GATEWRIGHT_MAX_CRASHES";
        SANDBOX_DIR = "sandbox_dir", "--sandbox-dir", "GATEWRIGHT_SANDBOX_DIR";
        TOOLS = "tools", "--tools", "GATEWRIGHT_TOOLS";
        EGRESS_AUTHORITIES = "egress_authorities", "--egress-authorities", "GATEWRIGHT_EGRESS_AUTHORITIES";
    }
}
