//! A run and a worker that does what the run wants, one commit at a time.

use std::sync::Arc;

use gatewright_policy::{
    CompiledPolicy, Permit, PolicyDocument, QuotaAnswer, Snapshot, ToolCallRequest, ToolFacts,
    authorize_tool_call, document::Approvals, host::hosts_in,
};
use gatewright_run::{
    Decided, Next, OpenCall, PlannedCall, RunState, Sealed, Stamp,
    decide::{self, Asked, Bench, Invocation, Outcome, Terms, Turn, Undecided, Verdict},
    next,
};
use gatewright_schemas::{
    ApprovalId, CommitId, DataAccess, Decision, Digest, Effect, ErrorInfo, EventBody, GateFacts,
    OnApproval, ReasonCode, RunId, RunStatus, Stage, Submission, Timestamp, WorkspaceId, WriterId,
    event::{ApprovalQuestion, ApprovalRequested, Likeness, RunCreated},
};
use serde_json::{Value, json};

/// Every tool is allowed but `forbidden`; `pay` and `renew` need approval.
pub const POLICY: &str = r#"
default = "allow"
require_approval = ["pay", "renew"]
kill_switches.tools = ["forbidden"]
"#;

/// The same policy, not obeyed.
pub fn shadow() -> Snapshot {
    snapshot(&format!("mode = \"shadow\"\n{POLICY}"))
}

/// The same policy, obeyed.
pub fn enforced() -> Snapshot {
    snapshot(POLICY)
}

pub fn snapshot(policy: &str) -> Snapshot {
    let document = PolicyDocument::parse(policy).unwrap_or_else(|faults| panic!("{faults}"));
    let digest = document.digest();
    let mut snapshot = Snapshot::new();
    snapshot.set_policy(Some(Arc::new(CompiledPolicy::new(document, 1, digest))));
    snapshot.set_synced_at(noon());
    snapshot
}

pub fn noon() -> Timestamp {
    "2026-03-04T12:00:00Z".parse().unwrap()
}

pub fn tonight() -> Timestamp {
    "2026-03-04T22:00:00Z".parse().unwrap()
}

pub fn acme() -> WorkspaceId {
    WorkspaceId::new("acme").unwrap()
}

pub fn r1() -> RunId {
    RunId::new("r1").unwrap()
}

/// Whether a tool may be executed again under the same key.
pub fn is_idempotent(tool: &str) -> bool {
    !matches!(tool, "send" | "pay")
}

pub fn effect(tool: &str) -> Effect {
    match tool {
        "runtime.noop" => Effect::None,
        "send" | "pay" | "renew" => Effect::Write,
        _ => Effect::Read,
    }
}

pub fn definition_digest(tool: &str) -> Digest {
    Digest::of(&json!({ "tool": tool }))
}

pub fn stamp(n: usize) -> Stamp {
    Stamp {
        commit_id: CommitId::new(format!("c{n}")).unwrap(),
        occurred_at: Timestamp::from_micros(
            noon().as_micros() + i64::try_from(n).unwrap() * 1_000_000,
        ),
        writer: WriterId::new("worker-1").unwrap(),
        causation_id: None,
    }
}

/// A submission with this `input.runtime`.
pub fn submission(runtime: &Value) -> Submission {
    serde_json::from_value(json!({ "input": { "runtime": runtime } })).unwrap()
}

pub fn run_created(submission: Submission) -> RunCreated {
    RunCreated {
        content_digest: submission.content_digest(),
        lane: submission.lane,
        zone: gatewright_schemas::Zone::default(),
        retry_of: None,
        secrets: 0,
        trace: None,
        submission,
    }
}

/// `input.runtime` of a run whose steps call these tools.
pub fn steps(tools: &[&[&str]]) -> Value {
    let calls = |tools: &&[&str]| -> Vec<Value> {
        tools.iter().map(|tool| json!({ "tool": tool })).collect()
    };
    let steps: Vec<Value> = tools
        .iter()
        .map(|tools| json!({ "tool_calls": calls(tools) }))
        .collect();
    json!({ "steps": steps })
}

pub fn error(code: ReasonCode) -> ErrorInfo {
    ErrorInfo::new(Stage::Execution, code, "it broke")
}

/// What a worker did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    Nothing,
    Invoked,
    Concluded,
    Parked,
    Refused,
    Lost,
    Ended,
}

/// A run's life as it is told.
#[derive(Clone)]
pub struct Story {
    pub state: RunState,
    pub commits: Vec<Sealed>,
    pub gate: Snapshot,
    /// Whether a worker holds the run, so that its turn has begun.
    held: bool,
    /// Whether that worker is executing the open call.
    executing: bool,
}

impl std::fmt::Debug for Story {
    /// What was asked for and what happened: short enough to read when a property fails.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(progress) = &self.state.progress {
            let submission = serde_json::to_string(&progress.created.submission);
            writeln!(f, "{}", submission.unwrap_or_default())?;
        }
        for (place, told) in self.told().iter().enumerate() {
            writeln!(f, "c{}: {}", place + 1, told.join(", "))?;
        }
        Ok(())
    }
}

impl Story {
    /// A run of which nothing is known.
    pub fn untold() -> Self {
        Self {
            state: RunState::new(acme(), r1()),
            commits: Vec::new(),
            gate: enforced(),
            held: false,
            executing: false,
        }
    }

    /// A run that was admitted.
    pub fn of(runtime: &Value) -> Self {
        let mut story = Self::untold();
        story.append(decide::admit(
            &story.state,
            run_created(submission(runtime)),
        ));
        story
    }

    /// A run whose steps call these tools.
    pub fn calling(tools: &[&[&str]]) -> Self {
        Self::of(&steps(tools))
    }

    pub fn under(mut self, gate: Snapshot) -> Self {
        self.gate = gate;
        self
    }

    /// Seals a decision, takes it as appended, and tells its events' types.
    #[track_caller]
    pub fn append(&mut self, decided: Result<Decided, Undecided>) -> Vec<&'static str> {
        let decided = decided.unwrap_or_else(|why| panic!("{why}\n{:#?}", self.state));
        let sealed = decided.seal(stamp(self.commits.len() + 1));
        assert!(!sealed.commit.events.is_empty(), "an empty commit");
        self.state = sealed.state.clone();
        self.commits.push(sealed);
        if self.status() != RunStatus::Running {
            self.held = false;
            self.executing = false;
        }
        self.last()
    }

    /// The types of the last commit's events.
    pub fn last(&self) -> Vec<&'static str> {
        let events = &self.commits.last().unwrap().commit.events;
        events.iter().map(|e| e.event_type.as_str()).collect()
    }

    pub fn last_bodies(&self) -> Vec<EventBody> {
        let events = &self.commits.last().unwrap().commit.events;
        events.iter().map(|e| e.body().unwrap()).collect()
    }

    /// The types of every commit's events.
    pub fn told(&self) -> Vec<Vec<&'static str>> {
        self.commits
            .iter()
            .map(|c| {
                c.commit
                    .events
                    .iter()
                    .map(|e| e.event_type.as_str())
                    .collect()
            })
            .collect()
    }

    pub fn status(&self) -> RunStatus {
        self.state.status().unwrap()
    }

    /// The worker that holds the run dies.
    pub fn crash(&mut self) {
        self.held = false;
        self.executing = false;
    }

    /// A worker's turn, where it has not begun; from now on it has.
    pub fn turn(&mut self) -> Option<Turn> {
        let begins = !std::mem::replace(&mut self.held, true);
        begins.then(|| Turn {
            lease: 1000 + u64::try_from(self.commits.len()).unwrap(),
        })
    }

    /// Does what the run wants done now, as a worker does. A call that is being executed ends as `outcome` says.
    #[track_caller]
    pub fn work(&mut self, outcome: Result<Value, ErrorInfo>) -> Did {
        let state = self.state.clone();
        match next(&state) {
            Next::Nothing => Did::Nothing,
            Next::Finish => {
                let turn = self.turn();
                self.append(decide::finish(&state, turn));
                Did::Ended
            }
            Next::Call(call) => self.make(call),
            Next::Recover(call, _) if self.executing => {
                let outcome = Outcome {
                    result: outcome,
                    events: Vec::new(),
                    executions: 1,
                    duration_us: 5,
                };
                self.executing = false;
                self.append(decide::conclude(&state, call, outcome));
                Did::Concluded
            }
            Next::Recover(call, open) if open.idempotent => self.make(call),
            Next::Recover(call, open) => {
                let turn = self.turn();
                self.append(lose(&state, turn, call, open));
                Did::Lost
            }
        }
    }

    /// Asks the gate about the call and does what it says.
    #[track_caller]
    pub fn make(&mut self, call: &PlannedCall) -> Did {
        let state = self.state.clone();
        let turn = self.turn();
        if call.tool_name == "missing" {
            let reason = "there is no such tool";
            let error = ErrorInfo::new(Stage::Registry, ReasonCode::ToolNotFound, reason);
            self.append(decide::refuse(&state, turn, call, &[], Vec::new(), error));
            return Did::Refused;
        }
        let (asked, permit) = ask(&state, call, &self.gate);
        if let Some(permit) = permit {
            let decided =
                decide::invoke(&state, turn, call, invocation(&state, call, asked, &permit));
            self.append(decided);
            self.executing = true;
            return Did::Invoked;
        }
        let progress = state.progress.as_ref().unwrap();
        let waits = progress
            .context
            .as_ref()
            .is_ok_and(|c| c.on_approval == OnApproval::Wait);
        if asked.record.decision == Decision::RequireApproval && waits {
            let request = request(&state, call, &asked);
            self.append(decide::park_for_approval(
                &state,
                turn,
                call,
                &[asked],
                request,
            ));
            return Did::Parked;
        }
        let error = ErrorInfo::blocked(Stage::ToolPolicy, &asked.record);
        self.append(decide::refuse(
            &state,
            turn,
            call,
            &[asked],
            Vec::new(),
            error,
        ));
        Did::Refused
    }

    /// [`Story::work`] where a call succeeds.
    #[track_caller]
    pub fn work_well(&mut self) -> Did {
        self.work(Ok(json!({ "ok": true })))
    }

    /// Works until the run ends or parks.
    #[track_caller]
    pub fn work_off(&mut self) -> RunStatus {
        for _ in 0..10_000 {
            if self.work_well() == Did::Nothing {
                return self.status();
            }
        }
        panic!("the run does not come to an end: {:#?}", self.state);
    }

    #[track_caller]
    pub fn decide_approval(&mut self, approved: bool) -> Vec<&'static str> {
        let answered = self.answer(says("ann", approved));
        self.append(answered)
    }

    /// What comes of a verdict on the approval that the run waits for: a person's at noon, nobody's when it lapses.
    pub fn answer(&self, verdict: Verdict) -> Result<Decided, Undecided> {
        let now = match verdict {
            Verdict::Decided { .. } => noon(),
            Verdict::Expired => tonight(),
        };
        self.answer_at(&self.approval_id(), verdict, &Approvals::default(), now)
    }

    /// What comes of a verdict on any approval, by these rules, at that time.
    pub fn answer_at(
        &self,
        approval: &ApprovalId,
        verdict: Verdict,
        rules: &Approvals,
        now: Timestamp,
    ) -> Result<Decided, Undecided> {
        let bench = Bench {
            rules,
            also_known_as: &["robot".to_owned()],
            now,
        };
        decide::answer_approval(&self.state, approval, verdict, &bench)
    }

    #[track_caller]
    pub fn approval_id(&self) -> ApprovalId {
        let waiting = self.state.progress.as_ref().unwrap().waiting.as_ref();
        waiting.unwrap().request.approval_id.clone()
    }

    /// The call that the run wants made.
    #[track_caller]
    pub fn wanted(&self) -> PlannedCall {
        match next(&self.state) {
            Next::Call(call) | Next::Recover(call, _) => call.clone(),
            other => panic!("the run wants {other:?}"),
        }
    }
}

/// A person's answer.
pub fn says(who: &str, approved: bool) -> Verdict {
    Verdict::Decided {
        approved,
        by: who.into(),
        reason: Some("because".into()),
        remember_s: None,
    }
}

/// A yes for a while.
pub fn says_yes_for(who: &str, seconds: u64) -> Verdict {
    Verdict::Decided {
        approved: true,
        by: who.into(),
        reason: None,
        remember_s: Some(seconds),
    }
}

pub fn lose(
    state: &RunState,
    turn: Option<Turn>,
    call: &PlannedCall,
    open: &OpenCall,
) -> Result<Decided, Undecided> {
    decide::lose(
        state,
        turn,
        call,
        open,
        Vec::new(),
        "its worker died",
        Terms {
            until: tonight(),
            approvers: 1,
        },
    )
}

/// Asks the gate about a call; an approval that the run holds for it goes along.
pub fn ask(state: &RunState, call: &PlannedCall, gate: &Snapshot) -> (Asked, Option<Permit>) {
    let progress = state.progress.as_ref().unwrap();
    let input_digest = Digest::of(&call.input);
    let request = ToolCallRequest {
        workspace_id: state.workspace_id.clone(),
        room_id: None,
        run_id: state.run_id.clone(),
        step_id: gatewright_schemas::StepId::new("acme.r1.1").unwrap(),
        tool_call_id: call.tool_call_id.clone(),
        context: progress.context.clone(),
        tool: ToolFacts {
            name: call.tool_name.clone(),
            definition_digest: definition_digest(&call.tool_name),
            effect: effect(&call.tool_name),
            action_type: None,
            requires_token: false,
            data: DataAccess::default(),
            through_gateway: false,
            sandboxed: false,
        },
        input_digest: input_digest.clone(),
        hosts: hosts_in(&call.input),
        sandbox_permissions: call.sandbox_permissions.clone(),
    };
    let grant = progress.grant_for(call);
    let answer = authorize_tool_call(
        &request,
        gate,
        grant.as_ref(),
        &QuotaAnswer::NotNeeded,
        noon(),
    );
    let (record, permit) = answer.into_parts();
    let asked = Asked {
        category: "tool",
        action_type: None,
        input_digest: Some(input_digest),
        hosts: Vec::new(),
        facts: GateFacts::default(),
        record,
        exceeded: None,
    };
    (asked, permit)
}

/// What a worker hands over to have an intent recorded.
pub fn invocation<'a>(
    state: &RunState,
    call: &PlannedCall,
    asked: Asked,
    permit: &'a Permit,
) -> Invocation<'a> {
    let spends_approval = asked.record.reason_code == ReasonCode::ApprovalAllowsAction;
    let progress = state.progress.as_ref().unwrap();
    Invocation {
        permit,
        asked: vec![asked],
        effect: effect(&call.tool_name),
        idempotent: is_idempotent(&call.tool_name),
        shown_input: call.input.clone(),
        approval_id: progress
            .waiting
            .as_ref()
            .or(progress.open_call.as_ref().and_then(|o| o.spent.as_ref()))
            .filter(|_| spends_approval)
            .map(|w| w.request.approval_id.clone()),
        before: Vec::new(),
    }
}

/// The approval that a worker asks for.
pub fn request(state: &RunState, call: &PlannedCall, asked: &Asked) -> ApprovalRequested {
    let progress = state.progress.as_ref().unwrap();
    ApprovalRequested {
        approval_id: progress.next_approval_id(&call.tool_call_id),
        question: ApprovalQuestion::MakeTheCall,
        tool_call_id: call.tool_call_id.clone(),
        tool_name: call.tool_name.clone(),
        definition_digest: definition_digest(&call.tool_name),
        input: call.input.clone(),
        input_digest: Digest::of(&call.input),
        principal_id: progress
            .context
            .as_ref()
            .ok()
            .and_then(|c| c.principal_id.clone()),
        asked_by: progress.context.as_ref().ok().map(|c| c.actor.clone()),
        hosts: Vec::new(),
        effect: Some(effect(&call.tool_name)),
        sandbox_permissions: call.sandbox_permissions.clone(),
        decision: Some(asked.record.clone()),
        sandbox_profile: None,
        likeness: Likeness::Input,
        approvers: 1,
        expires_at: tonight(),
    }
}
