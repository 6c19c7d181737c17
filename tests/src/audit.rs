//! The promises, checked over the whole stream and the read tables, past the product's own reading of them.
//!
//! The stream is read as JSON by a plain client; hashes are computed over that JSON.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use gatewright_schemas::{Digest, RunStatus};
use gatewright_store::Store;
use serde_json::Value;

use crate::{
    Fleetlet, eventually,
    outside::{Outsider, Stored},
};

/// What is to be checked, and what may be otherwise.
#[derive(Debug, Default)]
pub struct Audit {
    open: BTreeSet<String>,
}

/// What is wrong, in sentences.
type Faults = Vec<String>;

impl Audit {
    /// This run has neither ended nor parked, and that is as it should be.
    #[must_use]
    pub fn but_open(mut self, run: &gatewright_schemas::RunId) -> Self {
        self.open.insert(run.to_string());
        self
    }

    /// Checks everything; panics with all that is wrong.
    pub async fn check(&self, fleet: &Fleetlet) {
        let faults = self.faults(fleet).await;
        assert!(
            faults.is_empty(),
            "promises are broken:\n{}",
            faults.join("\n\n")
        );
    }

    /// Checks everything; answers with all that is wrong, run by run.
    pub async fn faults(&self, fleet: &Fleetlet) -> Vec<String> {
        let outsider = Outsider::connect(&fleet.nats.url()).await;
        self.quiet(&outsider).await;
        let stored = outsider.stored("EVENTS", "fleet.events.>").await;
        let open: Vec<&str> = self.open.iter().map(String::as_str).collect();
        let mut faults = Self::of_stream(&stored, &open);
        let runs = by_run(&stored);
        fleet.projected().await;
        faults.extend(self.tables(fleet, &runs).await);
        faults
    }

    /// What is wrong with these messages of the stream of events, run by run. Runs of the names in `open` may stand still.
    pub fn of_stream(stored: &[Stored], open: &[&str]) -> Vec<String> {
        let mut faults = Faults::new();
        for (run, messages) in by_run(stored) {
            let mut history = History::new(&run, open.contains(&name_of(&run)));
            for message in &messages {
                history.read(message);
            }
            history.close();
            if !history.faults.is_empty() {
                let lines: Vec<String> = messages.iter().map(|m| line(m)).collect();
                faults.push(format!(
                    "{run}: {}\n{}",
                    history.faults.join("; "),
                    lines.join("\n")
                ));
            }
        }
        faults
    }

    /// Waits until every run has ended or parked.
    async fn quiet(&self, outsider: &Outsider) {
        eventually(
            "every run ends or parks",
            Duration::from_mins(1),
            async || {
                let stored = outsider.stored("EVENTS", "fleet.events.>").await;
                let mut moving: BTreeMap<String, String> = BTreeMap::new();
                for message in &stored {
                    moving.insert(run_of(&message.subject), message.subject.clone());
                }
                moving.retain(|run, subject| {
                    let status = subject.rsplit('.').next().unwrap_or_default();
                    let rests = status
                        .parse::<RunStatus>()
                        .map_or(status == "recorded", |s| s.is_terminal() || s.is_parked());
                    !rests && !self.open.contains(name_of(run))
                });
                if moving.is_empty() {
                    Ok(())
                } else {
                    let some: Vec<&String> = moving.values().take(20).collect();
                    Err(format!("{} still move: {some:#?}", moving.len()))
                }
            },
        )
        .await;
    }

    /// The read tables equal a fold from scratch, and agree with the stream's subjects.
    async fn tables(&self, fleet: &Fleetlet, runs: &BTreeMap<String, Vec<&Stored>>) -> Faults {
        let mut faults = Faults::new();
        let live = gatewright_store::dump::folded(&fleet.store).await.unwrap();
        let anew = rebuilt(fleet).await;
        if live != anew {
            let (live, anew): (BTreeSet<_>, BTreeSet<_>) =
                (live.iter().collect(), anew.iter().collect());
            let only = |a: &BTreeSet<_>, b: &BTreeSet<_>| -> Vec<String> {
                a.difference(b).take(10).map(ToString::to_string).collect()
            };
            faults.push(format!(
                "the read tables are not the fold of the stream.\nonly live: {:#?}\nonly rebuilt: {:#?}",
                only(&live, &anew),
                only(&anew, &live)
            ));
        }
        for (run, messages) in runs {
            let Some((workspace, id)) = run.split_once('/') else {
                continue;
            };
            let status = messages
                .last()
                .and_then(|m| m.subject.rsplit('.').next())
                .unwrap_or_default();
            if status == "recorded" {
                continue;
            }
            let row = gatewright_store::run::show(
                &fleet.store,
                &workspace.parse().unwrap(),
                &id.parse().unwrap(),
            )
            .await
            .unwrap();
            let found = row.map(|row| (row.status, row.last_sequence));
            let last = i64::try_from(messages.last().map_or(0, |m| m.sequence)).unwrap();
            if found.as_ref().map(|(s, l)| (s.as_str(), *l)) != Some((status, last)) {
                faults.push(format!(
                    "{run} stands at ({status}, {last}); its row says {found:?}"
                ));
            }
        }
        faults
    }
}

/// Folds the stream from its beginning into a database of its own; answers with every row.
async fn rebuilt(fleet: &Fleetlet) -> Vec<String> {
    static COUNT: AtomicUsize = AtomicUsize::new(1);
    let name = format!("rebuilt_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let url = fleet.postgres.url(&name);
    gatewright_store::migrate::create_database(&url)
        .await
        .unwrap();
    let store = Store::connect(&url, gatewright_store::Options::default())
        .await
        .unwrap();
    gatewright_store::migrate::run(&store).await.unwrap();
    let options = gatewright_projector::Options::default();
    gatewright_projector::rebuild(&fleet.fleet, &store, &options, |_, _| {})
        .await
        .unwrap();
    let rows = gatewright_store::dump::folded(&store).await.unwrap();
    store.close().await;
    rows
}

/// `workspace/run` of a subject of events.
fn run_of(subject: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').collect();
    format!("{}/{}", tokens[2], tokens[3])
}

fn name_of(run: &str) -> &str {
    run.split_once('/').map_or(run, |(_, name)| name)
}

fn by_run(stored: &[Stored]) -> BTreeMap<String, Vec<&Stored>> {
    let mut runs: BTreeMap<String, Vec<&Stored>> = BTreeMap::new();
    for message in stored {
        runs.entry(run_of(&message.subject))
            .or_default()
            .push(message);
    }
    runs
}

fn line(message: &Stored) -> String {
    let events = message.body["events"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let told: Vec<String> = events
        .iter()
        .map(|e| format!("    {} {} {}", e["seq"], e["event_type"], e["data"]))
        .collect();
    format!(
        "{} {}\n{}",
        message.sequence,
        message.subject,
        told.join("\n")
    )
}

/// What is known of one call while a run is read.
#[derive(Default)]
struct CallSeen {
    invoked: usize,
    outcomes: usize,
    denied: bool,
    digest: Option<Value>,
}

/// A run that is read.
struct History {
    may_be_open: bool,
    is_authority: bool,
    seq: u64,
    hash: Option<Value>,
    ended: usize,
    status: String,
    calls: HashMap<String, CallSeen>,
    /// Approvals by id: the call and input digest that were asked about.
    asked: HashMap<String, (Value, Value)>,
    approved: BTreeSet<String>,
    spent: BTreeSet<String>,
    commits: BTreeSet<String>,
    faults: Faults,
}

impl History {
    fn new(run: &str, may_be_open: bool) -> Self {
        Self {
            may_be_open,
            is_authority: name_of(run) == "_authority",
            seq: 0,
            hash: None,
            ended: 0,
            status: String::new(),
            calls: HashMap::new(),
            asked: HashMap::new(),
            approved: BTreeSet::new(),
            spent: BTreeSet::new(),
            commits: BTreeSet::new(),
            faults: Faults::new(),
        }
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }

    fn read(&mut self, message: &Stored) {
        let tokens: Vec<&str> = message.subject.split('.').collect();
        let body = &message.body;
        if tokens.len() != 7 || body["workspace_id"] != tokens[2] || body["run_id"] != tokens[3] {
            self.fault(format!("{} is not where it says to be", message.sequence));
        }
        let commit = body["commit_id"].as_str().unwrap_or_default().to_owned();
        if message.id.as_deref() != Some(&commit) || !self.commits.insert(commit) {
            self.fault(format!("commit {} has no id of its own", message.sequence));
        }
        let events = body["events"].as_array().cloned().unwrap_or_default();
        if events.is_empty() {
            self.fault(format!("commit {} is empty", message.sequence));
        }
        let has = |kind: &str| events.iter().any(|event| event["event_type"] == kind);
        if has("policy.denied") != (tokens[5] == "deny") {
            self.fault(format!("commit {} says `{}`", message.sequence, tokens[5]));
        }
        for event in &events {
            self.chain(event);
            self.event(event);
        }
        tokens[6].clone_into(&mut self.status);
    }

    /// Without gaps, and each joined to the one before.
    fn chain(&mut self, event: &Value) {
        self.seq += 1;
        if event["seq"] != self.seq {
            self.fault(format!("seq {} where {} belongs", event["seq"], self.seq));
        }
        if event["prev_hash"] != self.hash.take().unwrap_or_default() {
            self.fault(format!("event {} does not join the one before", self.seq));
        }
        let mut unhashed = event.clone();
        let hash = unhashed.as_object_mut().and_then(|e| e.remove("hash"));
        let expected = serde_json::to_value(Digest::of(&unhashed)).unwrap();
        if hash.as_ref() != Some(&expected) {
            self.fault(format!("event {} does not match its hash", self.seq));
        }
        self.hash = Some(expected);
    }

    fn event(&mut self, event: &Value) {
        let (kind, data) = (
            event["event_type"].as_str().unwrap_or_default(),
            &event["data"],
        );
        if self.ended > 0 {
            self.fault(format!("{kind} after the end"));
        }
        let id = data["tool_call_id"].as_str().unwrap_or_default().to_owned();
        match kind {
            "run.completed" | "run.failed" | "run.cancelled" | "run.rejected" => self.ended += 1,
            "policy.denied" if data["decision"]["blocked"] == true => {
                self.calls.entry(id).or_default().denied = true;
            }
            "approval.requested" => {
                let approval = data["approval_id"].as_str().unwrap_or_default().to_owned();
                let about = (data["tool_call_id"].clone(), data["input_digest"].clone());
                self.asked.insert(approval, about);
            }
            "approval.decided" if data["approved"] == true => {
                let approval = data["approval_id"].as_str().unwrap_or_default().to_owned();
                self.approved.insert(approval);
            }
            "tool.invoked" => self.invoked(&id, data),
            "tool.succeeded" | "tool.failed" => {
                let call = self.calls.entry(id.clone()).or_default();
                call.outcomes += 1;
                let (outcomes, invoked) = (call.outcomes, call.invoked);
                if outcomes > 1 {
                    self.fault(format!("{outcomes} outcomes of {id}"));
                }
                if kind == "tool.succeeded" && invoked == 0 {
                    self.fault(format!("{id} succeeded and was never invoked"));
                }
            }
            _ => {}
        }
    }

    /// No intent without an allow, a spent approval or shadow mode, for the same call and input.
    fn invoked(&mut self, id: &str, data: &Value) {
        let decision = &data["decision"];
        let is_shadow = decision["enforcement_mode"] == "shadow";
        let approval = data["approval_id"].as_str().map(str::to_owned);
        if decision["blocked"] != false {
            self.fault(format!("{id} was invoked although it was blocked"));
        }
        if decision["decision"] != "allow" && !is_shadow {
            self.fault(format!("{id} was invoked without an allow"));
        }
        if decision["reason_code"] == "approval_allows_action" && approval.is_none() {
            self.fault(format!("{id} names no approval that it spends"));
        }
        if let Some(approval) = approval {
            let about = (data["tool_call_id"].clone(), data["input_digest"].clone());
            if !self.approved.contains(&approval) || self.asked.get(&approval) != Some(&about) {
                self.fault(format!(
                    "{id} spends the approval {approval}, which is not its own"
                ));
            }
            if !self.spent.insert(approval.clone()) && data["idempotent"] != true {
                self.fault(format!("{approval} is spent twice"));
            }
        }
        let call = self.calls.entry(id.to_owned()).or_default();
        call.invoked += 1;
        let other_input = call
            .digest
            .as_ref()
            .is_some_and(|d| *d != data["input_digest"]);
        call.digest = Some(data["input_digest"].clone());
        let (invoked, denied, outcomes) = (call.invoked, call.denied, call.outcomes);
        if invoked > 1 && data["idempotent"] != true {
            self.fault(format!(
                "{id} is not idempotent and was invoked {invoked} times"
            ));
        }
        if other_input {
            self.fault(format!("{id} was invoked with another input"));
        }
        if denied && !is_shadow {
            self.fault(format!("{id} was invoked after it was denied"));
        }
        if outcomes > 0 {
            self.fault(format!("{id} was invoked after its outcome"));
        }
    }

    /// What must hold when nothing more comes.
    fn close(&mut self) {
        if self.is_authority {
            return;
        }
        let status = self.status.parse::<RunStatus>();
        let is_terminal = status.as_ref().is_ok_and(|status| status.is_terminal());
        let rests = status.is_ok_and(|status| status.is_terminal() || status.is_parked());
        if self.ended != usize::from(is_terminal) {
            self.fault(format!(
                "{} ends, and its subject says `{}`",
                self.ended, self.status
            ));
        }
        if !rests && !self.may_be_open {
            self.fault(format!("neither ended nor parked: `{}`", self.status));
        }
        let open: Vec<String> = self
            .calls
            .iter()
            .filter(|(_, call)| is_terminal && call.invoked > 0 && call.outcomes == 0)
            .map(|(id, _)| id.clone())
            .collect();
        for id in open {
            self.fault(format!("{id} has no outcome although the run has ended"));
        }
    }
}
