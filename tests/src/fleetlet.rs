//! A small fleet: private servers, roles in this process, and an operator's hands.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gatewright_bus::{
    Connection, Credentials::Nkey, Fleet, Names, Tls, clock, keys::NewKey, permissions::Role,
};
use gatewright_dispatcher::{Dispatcher, http as api};
use gatewright_local::{Binaries, NatsOptions, NatsServer, Postgres, PostgresOptions};
use gatewright_projector::aside;
use gatewright_schemas::{
    ActorType, Command, CommandMessage, Event, EventType, KeyRole, PrincipalId, Reply, RunId,
    RunStatus, Scopes, StoredCommit, WorkspaceId, WriterId,
};
use gatewright_store::{Store, tool_call::ToolCall};
use gatewright_worker::{Worker, WorkerConfig, declared::DeclaredTools, egress, tool::Registry};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    Inside,
    audit::Audit,
    credentials::{self, Credentials},
    eventually,
    http::Client,
    policy,
};

/// How long an operator waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long anything that should happen soon may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

/// A small fleet.
pub struct Fleetlet {
    /// Its nats-server.
    pub nats: NatsServer,
    /// Its Postgres.
    pub postgres: Postgres,
    /// An operator's connection.
    pub fleet: Fleet,
    /// The read tables.
    pub store: Store,
    /// The workspace that everything here happens in.
    pub acme: WorkspaceId,
    credentials: Credentials,
    shutdown: CancellationToken,
    _data: tempfile::TempDir,
}

/// A run's id.
pub fn run(text: &str) -> RunId {
    RunId::new(text).unwrap()
}

/// A connection under `writer`'s name, which the seed in `nkey` proves.
pub async fn connect(url: &str, writer: &str, nkey: &Path) -> Fleet {
    let connection = Connection {
        url: url.to_owned(),
        writer: WriterId::new(writer).unwrap(),
        names: Names::default(),
        credentials: Some(Nkey(nkey.to_owned())),
        tls: Tls::default(),
        group_commit: false,
    };
    // A server that was just told of the credential may not have read it yet.
    eventually(&format!("{writer} is let in"), SOON, async || {
        let connected = Fleet::connect_once(&connection).await;
        connected.map_err(|error| format!("{error:?}"))
    })
    .await
}

impl Fleetlet {
    /// Starts the servers and the roles, and makes [`policy::OPEN`] the active policy.
    pub async fn start(workers: usize) -> Self {
        let this = Self::servers().await;
        this.start_dispatcher("dispatcher-1").await;
        this.start_projector("projector-1").await;
        for n in 1..=workers {
            this.start_worker(&format!("worker-{n}")).await;
        }
        this.apply_policy(policy::OPEN).await;
        this
    }

    /// Starts the servers, with streams and tables and nobody at work.
    pub async fn servers() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_max_level(tracing::Level::INFO)
            .try_init();
        let data = tempfile::tempdir().unwrap();
        let binaries = Binaries::find().unwrap();
        let postgres_options = PostgresOptions {
            data_dir: data.path().join("postgres"),
            port: None,
            durable: false,
        };
        let nats_dir = data.path().join("nats");
        let credentials = Credentials::new(&nats_dir);
        let nats_options = NatsOptions {
            extra_config: Credentials::config(),
            ..NatsOptions::new(nats_dir, "e2e")
        };
        let (nats, postgres) = tokio::join!(
            NatsServer::start(&binaries, nats_options),
            Postgres::start(&binaries, postgres_options)
        );
        let (nats, postgres) = (nats.unwrap(), postgres.unwrap());
        let options = gatewright_store::Options::default();
        let store = Store::connect(&postgres.url("postgres"), options)
            .await
            .unwrap();
        gatewright_store::migrate::run(&store).await.unwrap();
        let join = async |name: &str, role: Role| {
            let nkey = credentials.of(name, &role, nats.pid());
            connect(&nats.url(), name, &nkey).await
        };
        let provisioner = join("provisioner", Role::Provisioner).await;
        provisioner.provision(1).await.unwrap();
        let fleet = join("operator", Role::Operator).await;
        Self {
            nats,
            postgres,
            fleet,
            store,
            acme: WorkspaceId::new("acme").unwrap(),
            credentials,
            shutdown: CancellationToken::new(),
            _data: data,
        }
    }

    /// The file with the seed of a credential for `role`, made when it is first asked for.
    pub fn nkey(&self, name: &str, role: &Role) -> PathBuf {
        self.credentials.of(name, role, self.nats.pid())
    }

    /// A connection of `role`, under its own credential.
    pub async fn join(&self, name: &str, role: &Role) -> Fleet {
        connect(&self.nats.url(), name, &self.nkey(name, role)).await
    }

    /// A connection that may do what dispatchers do.
    pub async fn mender(&self) -> Fleet {
        self.join("mender", &Role::Dispatcher).await
    }

    /// Starts one more dispatcher.
    pub async fn start_dispatcher(&self, name: &str) -> Inside {
        let fleet = self.join(name, &Role::Dispatcher).await;
        let dispatcher = Dispatcher::join(fleet).await.unwrap();
        let own = self.shutdown.child_token();
        Inside::start(dispatcher.run(Some(self.store.clone()), own.clone()), own)
    }

    /// Starts one more dispatcher, which serves HTTP too; answers with where.
    pub async fn start_http(&self, name: &str) -> (SocketAddr, Inside) {
        self.start_http_limited(name, api::rate::DEFAULT).await
    }

    /// The same, with so many requests a second for each key.
    pub async fn start_http_limited(&self, name: &str, rate: NonZeroU32) -> (SocketAddr, Inside) {
        let fleet = self.join(name, &Role::Dispatcher).await;
        let dispatcher = Dispatcher::join(fleet).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = api::Options {
            hosts: vec!["gate.example".into()],
            store: Arc::new(self.store.clone().into()),
            explain: Some(explain()),
            rate: Some(rate),
        };
        let own = self.shutdown.child_token();
        let stop = own.clone();
        let work = async move {
            let serving = dispatcher.serve_http(listener, options, stop.clone());
            let (served, ()) = tokio::join!(serving, dispatcher.clone().run(None, stop.clone()));
            served.unwrap();
        };
        (address, Inside::start(work, own))
    }

    /// Makes a key for the workspace of the tests; answers with the line of a request that carries it.
    pub async fn key(&self, name: &str, roles: &[KeyRole]) -> String {
        self.key_of_workspace(self.acme.as_str(), name, roles).await
    }

    /// Makes a key for a workspace, `*` for all.
    pub async fn key_of_workspace(&self, workspace: &str, name: &str, roles: &[KeyRole]) -> String {
        let new = NewKey {
            name: name.to_owned(),
            roles: roles.to_vec(),
            workspace_id: (workspace != "*").then(|| workspace.parse().unwrap()),
            created_by: "operator".into(),
        };
        let (_, text) = self.fleet.create_key(new).await.unwrap();
        format!("Authorization: Bearer {text}")
    }

    /// Starts one more worker.
    pub async fn start_worker(&self, name: &str) -> Inside {
        self.start_worker_with(name, WorkerConfig::default()).await
    }

    /// Starts one more worker that works in its own way.
    pub async fn start_worker_with(&self, name: &str, config: WorkerConfig) -> Inside {
        let gateway = egress::Gateway::new(egress::Settings::default()).unwrap();
        let registry = Registry::standard(Arc::new(gateway)).unwrap();
        self.start_worker_of(name, registry, config).await
    }

    /// Starts one more worker that has the tools which `file` declares, TOML, beside the usual ones.
    pub async fn start_worker_with_tools(&self, name: &str, file: &str) -> Inside {
        let fleet = self.join(name, &credentials::worker()).await;
        let gateway = egress::Gateway::new(egress::Settings::default()).unwrap();
        let mut registry = Registry::standard(Arc::new(gateway)).unwrap();
        let sandbox = Arc::clone(registry.sandbox().unwrap());
        let declared = DeclaredTools::read(file, Path::new("/"), &[], "fleet").unwrap();
        for tool in declared.tools(&sandbox, Some(&fleet)) {
            registry.add(tool).unwrap();
        }
        self.start_worker_of(name, registry, WorkerConfig::default())
            .await
    }

    /// Starts one more worker that has tools of its own.
    pub async fn start_worker_of(
        &self,
        name: &str,
        registry: Registry,
        config: WorkerConfig,
    ) -> Inside {
        let fleet = self.join(name, &credentials::worker()).await;
        let worker = Worker::join(fleet, registry, config).await.unwrap();
        let own = self.shutdown.child_token();
        Inside::start(worker.run(own.clone()), own)
    }

    /// Starts one more projector.
    pub async fn start_projector(&self, name: &str) -> Inside {
        let fleet = self.join(name, &Role::Projector).await;
        let (store, own) = (self.store.clone(), self.shutdown.child_token());
        let stop = own.clone();
        let work = async move {
            let options = gatewright_projector::Options::default();
            tokio::select! {
                ended = gatewright_projector::run(&fleet, &store, &options, stop.cancelled()) => ended.unwrap(),
                () = aside::copy_workers(&fleet, &store, clock::now) => {}
                () = aside::copy_dead_letters(&fleet, &store) => {}
            }
        };
        Inside::start(work, own)
    }

    /// Submits a run and waits for the answer.
    pub async fn submit(&self, submission: &Value) -> Reply {
        self.submit_bytes(submission.to_string().into_bytes()).await
    }

    /// Submits whatever `bytes` are and waits for the answer.
    pub async fn submit_bytes(&self, bytes: Vec<u8>) -> Reply {
        self.fleet
            .submit(&self.acme, bytes, PATIENCE)
            .await
            .unwrap()
    }

    /// Submits a run that must be accepted; answers with its id.
    pub async fn accepted(&self, submission: &Value) -> RunId {
        match self.submit(submission).await {
            Reply::Accepted { run_id, .. } => run_id,
            refused @ Reply::Refused { .. } => panic!("{submission} was refused: {refused:?}"),
        }
    }

    /// Submits runs at once, all of which must be accepted; answers with their ids.
    pub async fn all_accepted(&self, submissions: &[Value]) -> Vec<RunId> {
        futures::future::join_all(submissions.iter().map(|one| self.accepted(one))).await
    }

    /// Submits a run that must be accepted, and waits until it has ended.
    pub async fn ended_run(&self, submission: &Value) -> (RunId, RunStatus) {
        let run = self.accepted(submission).await;
        let status = self.ended(&run).await;
        (run, status)
    }

    /// Gives a command to a run.
    pub async fn command(&self, run: &RunId, command: Command) -> Reply {
        self.command_as("operator", run, command).await
    }

    /// Gives a command to a run as somebody.
    pub async fn command_as(&self, who: &str, run: &RunId, command: Command) -> Reply {
        let message = CommandMessage {
            issued_by: who.to_owned(),
            command,
        };
        self.fleet
            .command(&self.acme, run, &message, PATIENCE)
            .await
            .unwrap()
    }

    /// Gives a command to the authority of `workspace`; it must be accepted.
    pub async fn authority(&self, workspace: &WorkspaceId, command: Command) -> Reply {
        let message = CommandMessage {
            issued_by: "operator".into(),
            command,
        };
        let reply = self
            .fleet
            .command(workspace, &RunId::authority(), &message, PATIENCE)
            .await
            .unwrap();
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
        reply
    }

    /// Makes `document` the active policy.
    pub async fn apply_policy(&self, document: &str) {
        let command = Command::ApplyPolicy {
            document: document.to_owned(),
        };
        self.authority(&WorkspaceId::fleet(), command).await;
    }

    /// Makes a principal of `id` known, an agent of the same name.
    pub async fn register(&self, id: &str) {
        let command = Command::RegisterPrincipal {
            principal_id: PrincipalId::new(id).unwrap(),
            principal_type: ActorType::Agent,
            actor_id: id.to_owned(),
        };
        self.authority(&self.acme, command).await;
    }

    /// Grants the capability token `id` to the principal `to`.
    pub async fn grant(&self, id: &str, to: &str, scopes: Scopes) {
        let command = Command::GrantCapability {
            token_id: Some(id.parse().unwrap()),
            to: to.parse().unwrap(),
            by: "operator".parse().unwrap(),
            parent: None,
            scopes,
            valid_until: None,
        };
        self.authority(&self.acme, command).await;
    }

    /// Every commit of a run.
    pub async fn history(&self, run: &RunId) -> Vec<StoredCommit> {
        self.fleet.history(&self.acme, run).await.unwrap()
    }

    /// Every event of a run.
    pub async fn events(&self, run: &RunId) -> Vec<Event> {
        let history = self.history(run).await;
        history
            .into_iter()
            .flat_map(|stored| stored.commit.events)
            .collect()
    }

    /// The types of a run's events, in order.
    pub async fn types(&self, run: &RunId) -> Vec<&'static str> {
        let events = self.events(run).await;
        events
            .iter()
            .map(|event| event.event_type.as_str())
            .collect()
    }

    /// The one event of this type that a run has.
    pub async fn the_event(&self, run: &RunId, wanted: EventType) -> Event {
        let mut events = self.events(run).await;
        let told = told(&events);
        events.retain(|event| event.event_type == wanted);
        assert_eq!(events.len(), 1, "{wanted} in\n{told}");
        events.remove(0)
    }

    /// A run's history for a person, to be shown when something is wrong with it.
    pub async fn told(&self, run: &RunId) -> String {
        let history = self.history(run).await;
        let mut lines = Vec::new();
        for stored in history {
            for event in &stored.commit.events {
                lines.push(format!(
                    "{} {} attempt {} {} {} {}",
                    stored.sequence,
                    stored.writer,
                    stored.commit.attempt,
                    event.seq,
                    event.event_type,
                    event.data
                ));
            }
        }
        lines.join("\n")
    }

    /// Waits until the run stands where it is to stand.
    pub async fn stands(&self, run: &RunId, wanted: impl Fn(RunStatus) -> bool) -> RunStatus {
        eventually(&format!("run {run} moves on"), SOON, async || {
            let last = self.fleet.last_commit(&self.acme, run).await;
            match last
                .map_err(|e| e.to_string())?
                .and_then(|last| last.status)
            {
                Some(status) if wanted(status) => Ok(status),
                _ => Err(self.told(run).await),
            }
        })
        .await
    }

    /// Waits until the run has ended, and tells how.
    pub async fn ended(&self, run: &RunId) -> RunStatus {
        self.stands(run, RunStatus::is_terminal).await
    }

    /// Waits until the run has parked for an approval; answers with the approval's id.
    pub async fn parked(&self, run: &RunId) -> gatewright_schemas::ApprovalId {
        self.stands(run, RunStatus::is_parked).await;
        let events = self.events(run).await;
        let request = events
            .iter()
            .rev()
            .find(|event| event.event_type == EventType::ApprovalRequested)
            .unwrap();
        request.data["approval_id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Waits until a run has an event of this type.
    pub async fn sees(&self, run: &RunId, wanted: EventType) {
        eventually(&format!("run {run} has {wanted}"), SOON, async || {
            let types = self.types(run).await;
            if types.contains(&wanted.as_str()) {
                Ok(())
            } else {
                Err(format!("{types:?}"))
            }
        })
        .await;
    }

    /// The run's row, once everything that is on the stream now is projected.
    pub async fn row(&self, run: &RunId) -> gatewright_store::run::Run {
        self.projected().await;
        gatewright_store::run::show(&self.store, &self.acme, run)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("run {run} has no row"))
    }

    /// The rows of the run's tool calls, once everything that is on the stream now is projected.
    pub async fn call_rows(&self, run: &RunId) -> Vec<ToolCall> {
        self.projected().await;
        gatewright_store::tool_call::of_run(&self.store, &self.acme, run, (0, 0), 1_000)
            .await
            .unwrap()
    }

    /// Waits until everything that is on the stream now is projected.
    pub async fn projected(&self) {
        let last = self.fleet.stream_identity().await.unwrap().last_sequence;
        eventually("the read tables are up to date", SOON, async || {
            let checkpoint = gatewright_store::checkpoint::load(&self.store).await;
            let at = checkpoint
                .map_err(|e| e.to_string())?
                .map(|c| c.last_sequence);
            if at >= Some(last) {
                Ok(())
            } else {
                Err(format!("projected up to {at:?} of {last}"))
            }
        })
        .await;
    }

    /// The first item of a list, once it has one.
    pub async fn eventually_one(&self, client: &Client, list: &str) -> Value {
        eventually(&format!("there is one at {list}"), SOON, async || {
            let page = client.get(list).await;
            page.body["items"]
                .get(0)
                .cloned()
                .ok_or(format!("{page:?}"))
        })
        .await
    }

    /// Checks every promise over the whole stream and the read tables. The end of every test.
    pub async fn audit(&self) {
        Audit::default().check(self).await;
    }
}

/// What the gate would say, with the tools of the workers here.
fn explain() -> api::Explain {
    let gateway = egress::Gateway::new(egress::Settings::default()).unwrap();
    let registry = Registry::standard(Arc::new(gateway)).unwrap();
    api::Explain::by(move |workspace, run, snapshot| {
        gatewright_worker::explain::explain(workspace, run, snapshot, &registry)
    })
}

fn told(events: &[Event]) -> String {
    let lines: Vec<String> = events
        .iter()
        .map(|event| format!("{} {} {}", event.seq, event.event_type, event.data))
        .collect();
    lines.join("\n")
}

impl Drop for Fleetlet {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
