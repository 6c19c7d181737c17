//! Histories as the fleet writes them, for tests and benchmarks: sealed commits with their place in the stream.

#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "histories are told at length, with values made for them"
)]

use std::collections::HashMap;

use gatewright_schemas::{
    Actor, ActorType, ApprovalId, CapabilityToken, CapabilityTokenId, CommitId, Decision,
    DecisionRecord, Digest, Effect, EnforcementMode, ErrorInfo, EventBody, Finding, Gate, Lane,
    Principal, PrincipalId, Quarantine, ReasonCode, RunId, RunStatus, Scopes, Stage, StepId,
    StepStatus, StoredCommit, Submission, Timestamp, ToolCallId, WorkspaceId, WriterId, Zone,
    chain::{ChainHead, Envelope, seal},
    event::{
        ApprovalDecided, ApprovalExpired, ApprovalQuestion, ApprovalRequested, ApprovalVoted,
        CapabilityGranted, CapabilityRefused, CapabilityRevoked, EgressAllowed, EgressBlocked,
        EgressRequested, Likeness, PolicyActivated, PolicyDecided, PrincipalQuarantined,
        PrincipalRegistered, PrincipalReleased, QuotaExceeded, RunCancelled, RunCompleted,
        RunCreated, RunFailed, RunRejected, RunResumed, RunStarted, RunSuspended, StepCompleted,
        StepCreated, ToolFailed, ToolInvoked, ToolSucceeded, WaitingFor,
    },
};
use serde_json::{Value, json};

/// When every test's stream was created.
pub fn created_at() -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000)
}

pub fn workspace() -> WorkspaceId {
    WorkspaceId::new("acme").unwrap()
}

pub fn run_id(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

pub fn digest(text: &str) -> Digest {
    Digest::of_bytes(text.as_bytes())
}

/// What one commit of a run holds.
pub struct Draft {
    pub status: Option<RunStatus>,
    pub gate: Gate,
    pub bodies: Vec<(Option<StepId>, EventBody)>,
}

/// A run's commits, in order, before they have a place in the stream.
pub struct Story {
    pub workspace: WorkspaceId,
    pub run: RunId,
    pub drafts: Vec<Draft>,
    pub room: Option<String>,
}

impl Story {
    pub fn new(run: &str) -> Self {
        Self {
            workspace: workspace(),
            run: run_id(run),
            drafts: Vec::new(),
            room: None,
        }
    }

    pub fn step(&self, number: usize) -> StepId {
        StepId::of(&self.workspace, &self.run, number)
    }

    pub fn call(&self, step: usize, call: usize) -> ToolCallId {
        ToolCallId::of(&self.workspace, &self.run, step, call)
    }

    /// Adds a commit; bodies that belong to a step carry the step `step`.
    pub fn commit(
        mut self,
        status: RunStatus,
        gate: Gate,
        step: usize,
        bodies: Vec<EventBody>,
    ) -> Self {
        let step = self.step(step);
        let bodies = bodies
            .into_iter()
            .map(|body| {
                let of_run = body.event_type().as_str().starts_with("run.");
                ((!of_run).then(|| step.clone()), body)
            })
            .collect();
        self.drafts.push(Draft {
            status: Some(status),
            gate,
            bodies,
        });
        self
    }
}

/// A stream that is being written.
#[derive(Default)]
pub struct Stream {
    pub commits: Vec<StoredCommit>,
    heads: HashMap<(WorkspaceId, RunId), ChainHead>,
}

impl Stream {
    /// Appends a commit of a story.
    pub fn append(&mut self, story: &Story, draft: &Draft) {
        let sequence = self.commits.len() as u64 + 1;
        let now = Timestamp::from_micros(
            created_at().as_micros() + 1_000 * i64::try_from(sequence).unwrap(),
        );
        let head = self
            .heads
            .entry((story.workspace.clone(), story.run.clone()))
            .or_default();
        let envelope = Envelope {
            commit_id: CommitId::new(format!("019b77a0-0000-7000-8000-{sequence:012}")).unwrap(),
            workspace_id: story.workspace.clone(),
            run_id: story.run.clone(),
            attempt: 1,
            actor: Actor {
                actor_id: "worker-1".into(),
                actor_type: ActorType::Service,
            },
            actor_principal_id: None,
            zone: Zone::Sandbox,
            room_id: story.room.clone(),
            thread_id: None,
            correlation_id: None,
            causation_id: None,
            occurred_at: now,
        };
        let bodies = draft
            .bodies
            .iter()
            .map(|(step, body)| (step.clone(), body.clone()))
            .collect();
        let commit = seal(head, envelope, bodies);
        let last = commit.events.last().unwrap();
        *head = ChainHead {
            seq: last.seq,
            hash: Some(last.hash.clone()),
        };
        self.commits.push(StoredCommit {
            sequence,
            stored_at: Timestamp::from_micros(now.as_micros() + 7),
            writer: WriterId::new("worker-1").unwrap(),
            gate: draft.gate,
            status: draft.status,
            trace: None,
            commit,
        });
    }

    /// Appends all of a story at once.
    pub fn tell(&mut self, story: &Story) {
        for draft in &story.drafts {
            self.append(story, draft);
        }
    }

    /// Appends several stories, their commits mixed in an order that `seed` decides.
    pub fn mix(&mut self, stories: &[Story], mut seed: u64) {
        let mut next = vec![0; stories.len()];
        loop {
            let open: Vec<usize> = (0..stories.len())
                .filter(|s| next[*s] < stories[*s].drafts.len())
                .collect();
            if open.is_empty() {
                return;
            }
            let story = open[usize::try_from(random(&mut seed) % open.len() as u64).unwrap()];
            self.append(&stories[story], &stories[story].drafts[next[story]]);
            next[story] += 1;
        }
    }
}

/// Numbers that look random and are the same every time (`splitmix64`).
pub fn random(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub fn decision(decision: Decision, code: ReasonCode, mode: EnforcementMode) -> DecisionRecord {
    let allowed = decision == Decision::Allow;
    let finding = Finding {
        check: "scopes".into(),
        decision,
        reason_code: code,
        reason: "because".into(),
    };
    DecisionRecord {
        decision,
        reason_code: code,
        reason: format!("because of {code}"),
        enforcement_mode: mode,
        blocked: !allowed && mode == EnforcementMode::Enforce,
        findings: if allowed { vec![] } else { vec![finding] },
        policy_revision: Some(3),
        policy_digest: Some(digest("policy")),
    }
}

pub fn allowed() -> DecisionRecord {
    decision(
        Decision::Allow,
        ReasonCode::DefaultAllow,
        EnforcementMode::Enforce,
    )
}

pub fn denied(mode: EnforcementMode) -> DecisionRecord {
    decision(
        Decision::Deny,
        ReasonCode::CapabilityScopeToolNotAllowed,
        mode,
    )
}

pub fn created(title: &str, policy: Value) -> EventBody {
    let submission: Submission = serde_json::from_value(json!({
        "title": title, "lane": "background",
        "deadline": (title != "noop").then_some("2027-01-01T00:00:00Z"),
        "input": { "runtime": { "policy": policy } }
    }))
    .unwrap();
    EventBody::RunCreated(RunCreated {
        content_digest: submission.content_digest(),
        submission,
        lane: Lane::Background,
        zone: Zone::Sandbox,
        retry_of: None,
        secrets: 0,
        trace: None,
    })
}

pub fn started(attempt: u32) -> EventBody {
    EventBody::RunStarted(RunStarted {
        attempt,
        lease: 40 + u64::from(attempt),
    })
}

pub fn step_created(number: u32) -> EventBody {
    EventBody::StepCreated(StepCreated {
        number,
        title: Some(format!("step {number}")),
        request_key: None,
    })
}

pub fn step_completed(status: StepStatus) -> EventBody {
    EventBody::StepCompleted(StepCompleted { status })
}

pub fn invoked(
    call: &ToolCallId,
    tool: &str,
    answer: DecisionRecord,
    approval: Option<ApprovalId>,
) -> EventBody {
    EventBody::ToolInvoked(ToolInvoked {
        tool_call_id: call.clone(),
        tool_name: tool.into(),
        definition_digest: digest(tool),
        effect: Effect::None,
        idempotent: true,
        input: json!({ "z": 1.50, "a": 9_007_199_254_740_993_u64, "text": "nul \u{0} and \u{202e} é" }),
        input_digest: digest("input"),
        decision: answer,
        approval_id: approval,
        action_type: None,
        principal_id: None,
        capability_token_id: None,
        hosts: Vec::new(),
        asked: None,
    })
}

pub fn succeeded(call: &ToolCallId) -> EventBody {
    EventBody::ToolSucceeded(ToolSucceeded {
        tool_call_id: call.clone(),
        output: json!({ "ok": true, "n": 1e-7 }),
        executions: 1,
        duration_us: 42,
    })
}

pub fn failed(call: &ToolCallId, tool: &str, error: ErrorInfo, executions: u32) -> EventBody {
    EventBody::ToolFailed(ToolFailed {
        tool_call_id: call.clone(),
        tool_name: tool.into(),
        error: error.of_tool(tool),
        executions,
        duration_us: 17,
    })
}

pub fn refused(
    call: &ToolCallId,
    tool: &str,
    category: &str,
    answer: DecisionRecord,
) -> PolicyDecided {
    PolicyDecided {
        tool_call_id: call.clone(),
        tool_name: tool.into(),
        category: category.into(),
        action_type: Some("internal.read".into()),
        input_digest: Some(digest("input")),
        principal_id: Some(PrincipalId::new("alice").unwrap()),
        capability_token_id: Some(CapabilityTokenId::new("narrow").unwrap()),
        zone: Zone::Sandbox,
        hosts: vec!["example.com".into()],
        decision: answer,
        asked: None,
    }
}

pub fn completed(succeeded_calls: u32, failed_calls: u32) -> EventBody {
    EventBody::RunCompleted(RunCompleted {
        succeeded_calls,
        failed_calls,
    })
}

/// The run of one `runtime.noop`: three commits, seven events.
pub fn noop(run: &str) -> Story {
    let story = Story::new(run);
    let call = story.call(1, 1);
    story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created("noop", json!({ "principal_id": "alice" }))],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![
                started(1),
                step_created(1),
                invoked(&call, "runtime.noop", allowed(), None),
            ],
        )
        .commit(
            RunStatus::Succeeded,
            Gate::None,
            1,
            vec![
                succeeded(&call),
                step_completed(StepStatus::Succeeded),
                completed(1, 0),
            ],
        )
}

/// A call outside the capability token's scope, in enforce mode.
pub fn denied_run(run: &str) -> Story {
    let story = Story::new(run);
    let call = story.call(1, 1);
    let answer = denied(EnforcementMode::Enforce);
    let error = ErrorInfo::blocked(Stage::ToolPolicy, &answer).of_tool("runtime.noop");
    story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created(
                "denied",
                json!({ "principal_id": "alice", "capability_token_id": "narrow" }),
            )],
        )
        .commit(
            RunStatus::Failed,
            Gate::Deny,
            1,
            vec![
                started(1),
                step_created(1),
                EventBody::QuotaExceeded(QuotaExceeded {
                    tool_call_id: call.clone(),
                    quota: "daily".into(),
                    limit: 5,
                    resets_at: created_at(),
                }),
                EventBody::PolicyDenied(refused(&call, "runtime.noop", "tool", answer)),
                failed(&call, "runtime.noop", error.clone(), 0),
                step_completed(StepStatus::Failed),
                EventBody::RunFailed(RunFailed { error }),
            ],
        )
}

/// The same in shadow mode: recorded, and made all the same.
fn shadow(run: &str) -> Story {
    let story = Story::new(run);
    let call = story.call(1, 1);
    let answer = denied(EnforcementMode::Shadow);
    story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created("shadow", Value::Null)],
        )
        .commit(
            RunStatus::Running,
            Gate::Deny,
            1,
            vec![
                started(1),
                step_created(1),
                EventBody::PolicyDenied(refused(&call, "runtime.noop", "tool", answer.clone())),
                invoked(&call, "runtime.noop", answer, None),
            ],
        )
        .commit(
            RunStatus::Succeeded,
            Gate::None,
            1,
            vec![
                succeeded(&call),
                step_completed(StepStatus::Succeeded),
                completed(1, 0),
            ],
        )
}

fn request(
    story: &Story,
    question: ApprovalQuestion,
    answer: Option<DecisionRecord>,
) -> (ApprovalId, Vec<EventBody>) {
    let call = story.call(1, 1);
    let approval_id = ApprovalId::of(&call, 1);
    let expires_at = Timestamp::from_micros(created_at().as_micros() + 3_600_000_000);
    let bodies = vec![
        EventBody::ApprovalRequested(ApprovalRequested {
            approval_id: approval_id.clone(),
            question,
            tool_call_id: call,
            tool_name: "runtime.echo".into(),
            definition_digest: digest("runtime.echo"),
            input: json!({ "text": "please\u{0}" }),
            input_digest: digest("input"),
            principal_id: Some(PrincipalId::new("alice").unwrap()),
            asked_by: None,
            hosts: vec!["api.example.com".into()],
            effect: Some(Effect::Write),
            sandbox_permissions: None,
            decision: answer,
            sandbox_profile: None,
            likeness: Likeness::Hosts,
            approvers: 2,
            expires_at,
        }),
        EventBody::RunSuspended(RunSuspended {
            waiting_for: WaitingFor::Approval {
                approval_id: approval_id.clone(),
                expires_at,
            },
        }),
    ];
    (approval_id, bodies)
}

fn parked(run: &str) -> (Story, ApprovalId) {
    let story = Story::new(run);
    let answer = decision(
        Decision::RequireApproval,
        ReasonCode::ToolRequiresApproval,
        EnforcementMode::Enforce,
    );
    let (approval, asks) = request(&story, ApprovalQuestion::MakeTheCall, Some(answer.clone()));
    let mut bodies = vec![
        started(1),
        step_created(1),
        EventBody::PolicyRequiresApproval(refused(
            &story.call(1, 1),
            "runtime.echo",
            "tool",
            answer,
        )),
    ];
    bodies.extend(asks);
    let story = story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created("approval", json!({}))],
        )
        .commit(RunStatus::WaitingApproval, Gate::RequireApproval, 1, bodies);
    (story, approval)
}

/// Approved, woken, made.
pub fn approved(run: &str) -> Story {
    let (story, approval) = parked(run);
    let call = story.call(1, 1);
    let answer = decision(
        Decision::Allow,
        ReasonCode::ApprovalAllowsAction,
        EnforcementMode::Enforce,
    );
    story
        .commit(
            RunStatus::WaitingApproval,
            Gate::None,
            1,
            vec![EventBody::ApprovalVoted(ApprovalVoted {
                approval_id: approval.clone(),
                by: "carol".into(),
                reason: None,
                missing: 1,
                remember_s: Some(3600),
            })],
        )
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![EventBody::ApprovalDecided(ApprovalDecided {
                approval_id: approval.clone(),
                approved: true,
                by: "bob".into(),
                reason: Some("fine".into()),
                voted_before: vec!["carol".into()],
                remember_s: Some(60),
            })],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![
                EventBody::RunResumed(RunResumed {
                    attempt: 2,
                    lease: 99,
                    takeover: false,
                }),
                invoked(&call, "runtime.echo", answer, Some(approval)),
            ],
        )
        .commit(
            RunStatus::Succeeded,
            Gate::None,
            1,
            vec![
                succeeded(&call),
                step_completed(StepStatus::Succeeded),
                completed(1, 0),
            ],
        )
}

/// Nobody decides; the call and the run fail.
fn expired(run: &str) -> Story {
    let (story, approval) = parked(run);
    let call = story.call(1, 1);
    let error = ErrorInfo {
        blocked: true,
        ..ErrorInfo::new(Stage::ToolPolicy, ReasonCode::ApprovalExpired, "late")
    };
    story.commit(
        RunStatus::Failed,
        Gate::None,
        1,
        vec![
            EventBody::ApprovalExpired(ApprovalExpired {
                approval_id: approval,
            }),
            failed(&call, "runtime.echo", error.clone(), 0),
            step_completed(StepStatus::Failed),
            EventBody::RunFailed(RunFailed { error }),
        ],
    )
}

/// Still waiting when the stream ends.
pub fn waiting(run: &str) -> Story {
    parked(run).0
}

/// Cancelled while it waits for an approval.
fn cancelled_waiting(run: &str) -> Story {
    parked(run).0.commit(
        RunStatus::Cancelled,
        Gate::None,
        1,
        vec![EventBody::RunCancelled(RunCancelled {
            reason: Some("no longer needed".into()),
            by: "bob".into(),
        })],
    )
}

/// A crash, a takeover, the same call again, and a cancellation in the middle of it.
fn taken_over_and_cancelled(run: &str) -> Story {
    let story = Story::new(run);
    let call = story.call(1, 1);
    story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created("takeover", json!({ "principal_id": 7 }))],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![
                started(1),
                step_created(1),
                invoked(&call, "runtime.noop", allowed(), None),
            ],
        )
        .commit(
            RunStatus::Running,
            Gate::None,
            1,
            vec![EventBody::RunResumed(RunResumed {
                attempt: 2,
                lease: 77,
                takeover: true,
            })],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![invoked(&call, "runtime.noop", allowed(), None)],
        )
        .commit(
            RunStatus::Cancelled,
            Gate::None,
            1,
            vec![EventBody::RunCancelled(RunCancelled {
                reason: None,
                by: "bob".into(),
            })],
        )
}

/// Two steps of several calls; one fails with leave to go on; requests to the outside, redirected and blocked.
fn long(run: &str) -> Story {
    let story = Story::new(run);
    let (one, two, three) = (story.call(1, 1), story.call(1, 2), story.call(2, 1));
    let egress = |call: &ToolCallId, hop| {
        EventBody::EgressRequested(EgressRequested {
            tool_call_id: call.clone(),
            hop,
            method: "GET".into(),
            url: format!("https://h{hop}.example.com/?q=…"),
            host: format!("h{hop}.example.com"),
            action_type: "internal.read".into(),
            gate: None,
        })
    };
    let went = |call: &ToolCallId, hop| {
        EventBody::EgressAllowed(EgressAllowed {
            tool_call_id: call.clone(),
            hop,
            host: format!("h{hop}.example.com"),
            address: Some("93.184.216.34:443".into()),
            status: Some(302),
        })
    };
    let blocked = ErrorInfo::blocked(Stage::Egress, &denied(EnforcementMode::Enforce));
    let unknown = ErrorInfo::new(
        Stage::Registry,
        ReasonCode::ToolNotFound,
        "no tool is called `no\u{0}pe`",
    );
    story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created("long", json!({ "principal_id": "alice" }))],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![
                started(1),
                step_created(1),
                egress(&one, 0),
                invoked(&one, "egress.request", allowed(), None),
            ],
        )
        .commit(
            RunStatus::Running,
            Gate::None,
            1,
            vec![EventBody::RunResumed(RunResumed {
                attempt: 2,
                lease: 5,
                takeover: true,
            })],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![
                egress(&one, 0),
                invoked(&one, "egress.request", allowed(), None),
            ],
        )
        .commit(
            RunStatus::Running,
            Gate::None,
            1,
            vec![
                went(&one, 0),
                egress(&one, 1),
                went(&one, 1),
                succeeded(&one),
            ],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![invoked(&two, "egress.request", allowed(), None)],
        )
        .commit(
            RunStatus::Running,
            Gate::Deny,
            1,
            vec![
                EventBody::PolicyDenied(refused(
                    &two,
                    "egress.request",
                    "egress",
                    denied(EnforcementMode::Enforce),
                )),
                EventBody::EgressBlocked(EgressBlocked {
                    tool_call_id: two.clone(),
                    hop: 0,
                    host: String::new(),
                    error: blocked.clone(),
                }),
                failed(&two, "egress.request", blocked, 1),
                step_completed(StepStatus::Succeeded),
            ],
        )
        .commit(
            RunStatus::Succeeded,
            Gate::None,
            2,
            vec![
                step_created(2),
                failed(&three, "no\u{0}pe", unknown, 0),
                step_completed(StepStatus::Succeeded),
                completed(1, 2),
            ],
        )
}

/// Nobody knows whether the call took effect; a person says that the run may go on.
fn outcome_unknown(run: &str) -> Story {
    let story = Story::new(run);
    let call = story.call(1, 1);
    let (approval, asks) = request(&story, ApprovalQuestion::GoOnAfterUnknownOutcome, None);
    let error = ErrorInfo::new(Stage::Recovery, ReasonCode::OutcomeUnknown, "a crash");
    let mut bodies = vec![
        EventBody::RunResumed(RunResumed {
            attempt: 2,
            lease: 8,
            takeover: true,
        }),
        failed(&call, "runtime.echo", error, 0),
    ];
    bodies.extend(asks);
    story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created("unknown", json!({}))],
        )
        .commit(
            RunStatus::Running,
            Gate::Allow,
            1,
            vec![
                started(1),
                step_created(1),
                invoked(&call, "runtime.echo", allowed(), None),
            ],
        )
        .commit(RunStatus::WaitingApproval, Gate::None, 1, bodies)
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![EventBody::ApprovalDecided(ApprovalDecided {
                approval_id: approval,
                approved: true,
                by: "bob".into(),
                reason: None,
                voted_before: Vec::new(),
                remember_s: None,
            })],
        )
        .commit(
            RunStatus::Succeeded,
            Gate::None,
            1,
            vec![
                EventBody::RunResumed(RunResumed {
                    attempt: 3,
                    lease: 9,
                    takeover: false,
                }),
                step_completed(StepStatus::Succeeded),
                completed(0, 1),
            ],
        )
}

/// Waits for an outside agent; its texts hold what Postgres cannot.
fn external(run: &str) -> Story {
    let mut story = Story::new(run);
    story.room = Some("room\u{0}1".into());
    story
        .commit(
            RunStatus::Queued,
            Gate::None,
            1,
            vec![created("ext\u{0}ernal", json!({}))],
        )
        .commit(
            RunStatus::WaitingActor,
            Gate::None,
            1,
            vec![
                started(1),
                step_created(1),
                EventBody::RunSuspended(RunSuspended {
                    waiting_for: WaitingFor::Actor,
                }),
            ],
        )
}

fn rejected(run: &str) -> Story {
    Story::new(run).commit(
        RunStatus::Rejected,
        Gate::None,
        1,
        vec![EventBody::RunRejected(RunRejected {
            error: ErrorInfo::new(Stage::Admission, ReasonCode::SubmissionInvalid, "bad\u{0}"),
            requested_run_id: Some("what?\u{0}".into()),
            submission_sequence: 12,
        })],
    )
}

/// Everything that `_authority` can record.
pub fn authority() -> Story {
    let mut story = Story::new("_authority");
    let principal = |id: &str| PrincipalId::new(id).unwrap();
    let token = CapabilityToken {
        token_id: CapabilityTokenId::new("narrow").unwrap(),
        workspace_id: workspace(),
        issued_to_principal_id: principal("alice"),
        granted_by_principal_id: principal("root"),
        parent_token_id: None,
        scopes: Scopes {
            tools: vec!["runtime.echo".into()],
            ..Scopes::default()
        },
        valid_until: Some(created_at()),
        granted_at: created_at(),
        revoked_at: None,
    };
    let quarantine = Quarantine {
        since: created_at(),
        reason: "odd".into(),
        by: "bob".into(),
    };
    let alice = Principal {
        principal_id: principal("alice"),
        workspace_id: workspace(),
        principal_type: ActorType::Agent,
        actor_id: "agent-7".into(),
        quarantine: None,
    };
    let activated = |revision: u64| {
        EventBody::PolicyActivated(PolicyActivated {
            revision,
            digest: digest("policy"),
            document: "mode = \"enforce\"\n".into(),
            enforcement_mode: EnforcementMode::Enforce,
            previous_mode: Some(EnforcementMode::Shadow),
            by: "bob".into(),
        })
    };
    let bodies = [
        EventBody::PrincipalRegistered(PrincipalRegistered { principal: alice }),
        EventBody::CapabilityGranted(CapabilityGranted { token }),
        EventBody::CapabilityRefused(CapabilityRefused {
            token_id: CapabilityTokenId::new("wide").unwrap(),
            parent_token_id: None,
            to: principal("alice"),
            by: principal("root"),
            reason_code: ReasonCode::DelegationRefused,
            reason: "too wide".into(),
        }),
        EventBody::PrincipalQuarantined(PrincipalQuarantined {
            principal_id: principal("alice"),
            quarantine: quarantine.clone(),
        }),
        EventBody::PrincipalQuarantined(PrincipalQuarantined {
            principal_id: principal("nobody"),
            quarantine,
        }),
        EventBody::PrincipalReleased(PrincipalReleased {
            principal_id: principal("alice"),
            by: "bob".into(),
            reason: None,
        }),
        activated(1),
        activated(2),
        activated(1),
        EventBody::CapabilityRevoked(CapabilityRevoked {
            token_id: CapabilityTokenId::new("narrow").unwrap(),
            revoked_at: created_at(),
            by: "bob".into(),
            reason: Some("leaked".into()),
        }),
    ];
    for body in bodies {
        story.drafts.push(Draft {
            status: None,
            gate: Gate::None,
            bodies: vec![(None, body)],
        });
    }
    story
}

/// One run of every kind.
pub fn all_kinds(prefix: &str) -> Vec<Story> {
    let name = |kind: &str| format!("{prefix}{kind}");
    vec![
        noop(&name("noop")),
        denied_run(&name("denied")),
        shadow(&name("shadow")),
        approved(&name("approved")),
        expired(&name("expired")),
        waiting(&name("waiting")),
        cancelled_waiting(&name("cancelled-waiting")),
        taken_over_and_cancelled(&name("taken-over")),
        long(&name("long")),
        outcome_unknown(&name("unknown")),
        external(&name("external")),
        rejected(&name("rejected")),
    ]
}

/// A stream that holds everything, in an order that `seed` decides.
pub fn everything(seed: u64) -> Stream {
    let mut stories = vec![authority()];
    for n in 0..4 {
        stories.extend(all_kinds(&format!("r{n}-")));
    }
    let mut stream = Stream::default();
    stream.mix(&stories, seed);
    stream
}
