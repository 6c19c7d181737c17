//! Every question that the crate answers from the tables, asked in all the ways in which a page, a list of the HTTP API or the fleet asks it.

use std::time::{Duration, Instant};

use gatewright_schemas::{
    ApprovalId, CapabilityTokenId, Lane, ReasonCode, RunId, RunStatus, Timestamp, WorkspaceId,
    WriterId, Zone,
};
use gatewright_store::{
    Store, StoreError,
    approval::{self, Place},
    capability, checkpoint, dead_letter, decision, egress, event, overview, policy_revision,
    principal, recorded, remembered_approval,
    run::{self, Filter},
    step, tool_call, worker,
};

/// What a page is asked for: the longest that the HTTP API gives.
const PAGE: u32 = 500;
/// What the HTTP API looks through for a zone or lane, and counts at most (`dispatcher/src/http/`).
const SEARCHED: u32 = 5_000;
const COUNTED: u32 = 20_000;
/// Counts by state stop there, each.
const STATES: u64 = 10_001;
const PARTS_OF_A_RUN: u64 = 5_000;

/// A question, and how long its answers took.
pub struct Answered {
    /// Who asks: a page of the dashboard, or the fleet.
    pub by: &'static str,
    pub question: String,
    /// Rows of one table that may be looked at for it.
    pub most: u64,
    pub took: Vec<Duration>,
}

/// Asks each question so many times.
pub struct Asker {
    pub times: usize,
    pub answered: Vec<Answered>,
}

impl Asker {
    async fn ask<T>(
        &mut self,
        by: &'static str,
        question: impl Into<String>,
        most: impl Into<u64>,
        ask: impl AsyncFn() -> Result<T, StoreError>,
    ) -> T {
        let (question, most) = (question.into(), most.into());
        let mut took = Vec::new();
        let mut answer = None;
        for _ in 0..self.times {
            let began = Instant::now();
            let given = ask().await;
            took.push(began.elapsed());
            answer = Some(given.unwrap_or_else(|error| panic!("{by}: {question}: {error:?}")));
        }
        self.answered.push(Answered {
            by,
            question,
            most,
            took,
        });
        answer.unwrap()
    }

    /// All of them, of a database that [`crate::seed`] filled with so many runs.
    pub async fn everything(&mut self, store: &Store, runs: u32, now: Timestamp) {
        let end = i64::from(runs);
        self.runs(store, end).await;
        for run in ["r40123", "big"] {
            self.parts(store, "run", &run_id(run)).await;
        }
        self.overview(store, now).await;
        self.approvals(store, now).await;
        self.policy(store, now).await;
        self.authority(store).await;
        self.dead_letters(store, end / 20).await;
        self.fleet(store, now, end).await;
    }

    /// The list of runs with every filter that the page offers, alone and together.
    async fn runs(&mut self, store: &Store, end: i64) {
        let live = vec![RunStatus::Queued, RunStatus::Running];
        let statuses = [
            vec![],
            vec![RunStatus::Succeeded],
            vec![RunStatus::Failed],
            vec![RunStatus::WaitingActor],
            live,
        ];
        for workspace in workspaces() {
            for statuses in &statuses {
                for before in [None, Some(end / 2), Some(end / 1_000)] {
                    for zone in [None]
                        .into_iter()
                        .chain(Zone::ALL.iter().copied().map(Some))
                    {
                        for lane in [None]
                            .into_iter()
                            .chain(Lane::ALL.iter().copied().map(Some))
                        {
                            let (workspace, statuses) = (workspace.clone(), statuses.clone());
                            let filter = Filter {
                                workspace,
                                statuses,
                                zone,
                                lane,
                                before,
                                from: 0,
                                limit: PAGE,
                            };
                            self.listed(store, filter).await;
                        }
                    }
                }
            }
        }
        for run in ["r40001", "none"] {
            let (acme, run) = (workspace("w1"), run_id(run));
            let ask = async || run::show(store, &acme, &run).await;
            self.ask("run", "one", 1_u64, ask).await;
        }
    }

    /// As the API asks: what is in no index is searched for among the youngest runs.
    async fn listed(&mut self, store: &Store, mut filter: Filter) {
        let states = RunStatus::ALL.len() as u64;
        let mut most = states * u64::from(PAGE);
        let told = format!(
            "of {:?}, {:?}, zone {:?}, lane {:?}, before {:?}",
            filter.workspace, filter.statuses, filter.zone, filter.lane, filter.before
        );
        if filter.zone.is_some() || filter.lane.is_some() {
            most = most.max(u64::from(SEARCHED));
            let ask = async || run::reach(store, &filter, SEARCHED).await;
            let bound = states * u64::from(SEARCHED);
            let reach = format!("reach {told}");
            filter.from = self.ask("runs", reach, bound, ask).await.unwrap_or(0);
        }
        let ask = async || run::list(store, &filter).await;
        self.ask("runs", format!("list {told}"), most, ask).await;
    }

    async fn parts(&mut self, store: &Store, by: &'static str, run: &RunId) {
        let of = workspace(if run.as_str() == "big" { "w1" } else { "w3" });
        for after in [0, 2_500] {
            let ask = async || step::of_run(store, &of, run, after, PAGE).await;
            self.ask(by, "steps", PAGE, ask).await;
            let ask = async || tool_call::of_run(store, &of, run, (after, 1), PAGE).await;
            self.ask(by, "calls", PAGE, ask).await;
            let seq = i64::from(after) * 2;
            let ask = async || decision::of_run(store, &of, run, seq, PAGE).await;
            self.ask(by, "decisions", PAGE, ask).await;
            let seq = after.unsigned_abs().into();
            let ask = async || event::of_run(store, &of, run, seq, PAGE).await;
            self.ask(by, "events", PAGE, ask).await;
        }
        let ask = async || approval::of_run(store, &of, run).await;
        self.ask(by, "approvals", PARTS_OF_A_RUN, ask).await;
        let ask = async || egress::of_run(store, &of, run, PAGE).await;
        self.ask(by, "requests to the outside", PAGE, ask).await;
    }

    async fn overview(&mut self, store: &Store, now: Timestamp) {
        let by = "overview";
        for of in workspaces() {
            let of = of.as_ref();
            let told = format!(" of {of:?}");
            let states = RunStatus::ALL.len() as u64;
            let ask = async || overview::states(store, of).await;
            self.ask(by, format!("states{told}"), states * STATES, ask)
                .await;
            let all = Filter {
                workspace: of.cloned(),
                ..Filter::default()
            };
            let ask = async || run::reach(store, &all, COUNTED).await;
            let most = states * u64::from(COUNTED);
            let reached = self.ask(by, format!("reach{told}"), most, ask).await;
            if let Some(reached) = reached {
                let ask = async || overview::created_at(store, reached).await;
                self.ask(by, "when one was created", 8_u64, ask).await;
            }
            let from = reached.unwrap_or(0);
            for hours in [1, 24, 168] {
                let since = before(now, hours);
                let ask = async || overview::created(store, of, from, since, 3_600, COUNTED).await;
                let question = format!("created within {hours} hours{told}");
                self.ask(by, question, COUNTED, ask).await;
                let ask = async || overview::refusals(store, of, since, COUNTED).await;
                let question = format!("refusals within {hours} hours{told}");
                self.ask(by, question, COUNTED, ask).await;
            }
            let ask = async || overview::waiting(store, of).await;
            self.ask(by, format!("waiting{told}"), 1_001_u64, ask).await;
            let ask = async || overview::oldest_queued(store, of, 5).await;
            self.ask(by, format!("oldest queued{told}"), 1_000_u64, ask)
                .await;
        }
        let ask = async || checkpoint::lag(store).await;
        self.ask(by, "lag", 1_u64, ask).await;
    }

    async fn approvals(&mut self, store: &Store, now: Timestamp) {
        let by = "approvals";
        for of in workspaces() {
            let of = of.as_ref();
            for days in [None, Some(0), Some(20)] {
                let place = days.map(|days| Place {
                    at: before(now, days * 24),
                    approval_id: "w1.r1.1.1.a1".into(),
                });
                let place = place.as_ref();
                let told = format!(" of {of:?} from {place:?}");
                let ask = async || approval::waiting(store, of, place, PAGE).await;
                // Where few wait at all, all of them may be looked at.
                self.ask(by, format!("waiting{told}"), 1_001_u64, ask).await;
                let ask = async || approval::list(store, of, place, PAGE).await;
                self.ask(by, format!("list{told}"), PAGE, ask).await;
            }
        }
        let (of, run) = (workspace("once"), run_id("r10"));
        let id = ApprovalId::new("once.r10.1.1.a1").unwrap();
        let ask = async || approval::show(store, &of, &run, &id).await;
        assert!(self.ask(by, "one", 1_u64, ask).await.is_some());
    }

    async fn policy(&mut self, store: &Store, now: Timestamp) {
        let (by, fleet) = ("policy", WorkspaceId::fleet());
        for before in [i64::MAX, 700] {
            let ask = async || policy_revision::list(store, &fleet, before, PAGE).await;
            self.ask(by, "revisions", PAGE, ask).await;
        }
        let earlier = before(now, 200);
        for reason in [None, Some(ReasonCode::DefaultDeny)] {
            for until in [now, earlier] {
                let ask = async || decision::refused(store, reason, until, PAGE).await;
                let question = format!("refused for {reason:?}");
                self.ask(by, question, PAGE + 1, ask).await;
            }
        }
        for of in workspaces() {
            let of = of.as_ref();
            // Of a workspace of few decisions the replay reads those of the others too, from the time on that it is to begin at.
            let most = if of.is_some_and(|of| ["rare", "once"].contains(&of.as_str())) {
                u64::MAX
            } else {
                10 * u64::from(PAGE)
            };
            let ask = async || recorded::page(store, of, earlier, None, PAGE).await;
            let first = self.ask("replay", format!("of {of:?}"), most, ask).await;
            let after = first.last();
            let ask = async || recorded::page(store, of, earlier, after, PAGE).await;
            let question = format!("of {of:?}, second page");
            self.ask("replay", question, most, ask).await;
        }
    }

    async fn authority(&mut self, store: &Store) {
        let by = "capabilities";
        for (of, after) in [("w1", ""), ("w1", "t5"), ("w1", "p5"), ("none", "")] {
            let of = workspace(of);
            let ask = async || capability::list(store, &of, after, PAGE).await;
            self.ask(by, "tokens", PAGE, ask).await;
            let ask = async || principal::list(store, &of, after, PAGE).await;
            self.ask(by, "principals", PAGE, ask).await;
            let ask = async || remembered_approval::list(store, &of, after, PAGE).await;
            self.ask(by, "remembered approvals", PAGE, ask).await;
        }
        let (of, token) = (workspace("w1"), CapabilityTokenId::new("t1").unwrap());
        let ask = async || capability::show(store, &of, &token).await;
        assert!(self.ask(by, "one token", 1_u64, ask).await.is_some());
    }

    async fn dead_letters(&mut self, store: &Store, middle: i64) {
        let by = "dead letters";
        for of in workspaces() {
            let of = of.as_ref();
            for before in [i64::MAX, middle] {
                let ask = async || dead_letter::list(store, of, before, PAGE).await;
                let question = format!("of {of:?} before {before}");
                self.ask(by, question, PAGE, ask).await;
            }
        }
        let ask = async || dead_letter::show(store, middle.unsigned_abs()).await;
        assert!(self.ask(by, "one", 1_u64, ask).await.is_some());
        let ask = async || dead_letter::last_sequence(store).await;
        self.ask("fleet", "last dead letter", 1_u64, ask).await;
    }

    /// What dispatchers, projectors and their metrics ask.
    async fn fleet(&mut self, store: &Store, now: Timestamp, end: i64) {
        let by = "fleet";
        let ask = async || run::not_moved_since(store, now, now, None, PAGE).await;
        let found = self.ask(by, "runs that stand still", PAGE, ask).await;
        let last = found.last();
        let ask = async || run::not_moved_since(store, now, now, last, PAGE).await;
        // The next page skips those that moved at the very same time, by more than the index tells.
        self.ask(by, "more of them", PAGE + 1, ask).await;
        let worker = WriterId::new("worker-8").unwrap();
        let ask = async || run::held_by(store, &worker, PAGE).await;
        self.ask(by, "runs of a worker", PAGE, ask).await;
        let ask = async || run::overdue(store, now, PAGE).await;
        self.ask(by, "overdue runs", PAGE, ask).await;
        let ask = async || approval::lapsed(store, now, None, PAGE).await;
        let found = self.ask(by, "lapsed approvals", PAGE, ask).await;
        let last = found.last();
        let ask = async || approval::lapsed(store, now, last, PAGE).await;
        self.ask(by, "more of them", PAGE + 1, ask).await;
        let ask = async || approval::count_waiting(store).await;
        self.ask(by, "approvals that wait", 10_000_u64, ask).await;
        let sequence = end.unsigned_abs() / 2;
        let ask = async || event::after(store, (sequence, 1), PAGE).await;
        self.ask(by, "all events", PAGE + 2, ask).await;
        let ask = async || worker::list(store, before(now, 1), PAGE).await;
        self.ask(by, "workers", PAGE, ask).await;
        let ask = async || checkpoint::load(store).await;
        self.ask(by, "checkpoint", 1_u64, ask).await;
    }
}

/// All; one of many runs; one with all that failed; one of few; one where much happened long ago.
fn workspaces() -> [Option<WorkspaceId>; 5] {
    [None, Some("w1"), Some("w0"), Some("rare"), Some("once")].map(|name| name.map(workspace))
}

fn workspace(name: &str) -> WorkspaceId {
    WorkspaceId::new(name).unwrap()
}

fn run_id(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

fn before(now: Timestamp, hours: i64) -> Timestamp {
    Timestamp::from_micros(now.as_micros() - hours * 3_600_000_000)
}
