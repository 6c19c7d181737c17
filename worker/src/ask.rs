//! Putting a call before the gate, and making of its answer what the run records.

use std::time::Duration;

use gatewright_bus::{clock, layout::LayoutError, retry::Retry};
use gatewright_policy::{
    EgressRequest, Grant, GrantState, Permit, QuotaAnswer, Snapshot, ToolCallRequest,
    authorize_egress, authorize_tool_call, egress_quota_needed, host::hosts_in, quota_needed,
    redact::SecretMissing,
};
use gatewright_run::{
    Decided, PlannedCall, Progress,
    decide::{self, Asked, Invocation, Undecided},
};
use gatewright_schemas::{
    Decision, DecisionRecord, ErrorInfo, EventBody, OnApproval, ReasonCode, Stage, StepId,
    Timestamp,
    event::{ApprovalQuestion, ApprovalRequested, EgressBlocked},
};

use crate::{
    Worker,
    egress::{HopRequest, Redacted, Rules, Secrets, first_hop},
    tool::{Input, ResolvedCall},
    turn::{AtHand, TurnError},
};

/// How long a worker waits for a fresh copy of the policy before it asks the gate all the same, which then denies.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which way the gate showed.
pub(crate) enum Way {
    /// The call may be made, once the intent is stored.
    Open(Box<Decided>, Box<Permitted>),
    /// It is not made: it failed, or waits for an approval.
    Barred(Box<Decided>),
}

/// A call that may be made.
pub(crate) struct Permitted {
    pub(crate) permit: Permit,
    pub(crate) resolved: ResolvedCall,
    pub(crate) request: ToolCallRequest,
    pub(crate) input: Input,
    pub(crate) grant: Option<Grant>,
    pub(crate) rules: Rules,
}

impl Worker {
    /// Asks the gate about the call, under the state of the world as this worker knows it now.
    pub(crate) async fn ask(
        &self,
        hand: &AtHand<'_>,
        call: &PlannedCall,
    ) -> Result<Way, TurnError> {
        let state = &hand.run.state;
        let Some(progress) = &state.progress else {
            return Err(Undecided::NotFound.into());
        };
        let barred = |decided| Ok(Way::Barred(Box::new(decided)));

        let input = match self.input_of(hand, progress, call).await? {
            Ok(input) => input,
            Err(missing) => {
                let error = secrets_are_gone(missing, call);
                return barred(decide::refuse(
                    state,
                    hand.turn,
                    call,
                    &[],
                    Vec::new(),
                    error,
                )?);
            }
        };
        let resolved = match self.0.registry.resolve(&call.tool_name, input.real()) {
            Ok(resolved) => resolved,
            Err(error) => {
                let error = input.cleaned(error);
                return barred(decide::refuse(
                    state,
                    hand.turn,
                    call,
                    &[],
                    Vec::new(),
                    error,
                )?);
            }
        };
        let Some(step_id) = step_of(progress) else {
            return Err(Undecided::NotFound.into());
        };
        let request = ToolCallRequest {
            workspace_id: state.workspace_id.clone(),
            room_id: progress.created.submission.room_id.clone(),
            run_id: state.run_id.clone(),
            step_id,
            tool_call_id: call.tool_call_id.clone(),
            context: progress.context.clone(),
            tool: resolved.policy_facts(),
            input_digest: input.digest().clone(),
            hosts: hosts_in(input.real()),
            sandbox_permissions: call.sandbox_permissions.clone(),
        };
        let first_hop = match resolved
            .definition()
            .through_gateway
            .then(|| first_hop(&call.tool_call_id, input.real()))
        {
            None => None,
            Some(Ok(hop)) => Some(hop),
            Some(Err(error)) => {
                let events = vec![blocked_hop(call, "", &error)];
                return barred(decide::refuse(state, hand.turn, call, &[], events, error)?);
            }
        };
        let grant = grant_of(progress, call);

        let max_age = self.0.authority.read(max_age);
        self.0.authority.fresh(max_age, PATIENCE).await;
        let now = clock::now();
        // One state of the world for both questions.
        let (answer, egress, rules) = self.0.authority.read(|snapshot| {
            let answer = ask_tool(snapshot, &request, grant.as_ref(), now);
            let is_denied = answer.record().blocked && answer.record().decision == Decision::Deny;
            let egress = first_hop.as_ref().filter(|_| !is_denied).map(|hop| {
                let hop_request = egress_request(&request, hop);
                ask_egress(snapshot, &hop_request, grant.as_ref(), now)
                    .into_parts()
                    .0
            });
            (answer, egress, rules_of(snapshot))
        });
        let Redacted {
            value: shown_input,
            secrets,
        } = input.shown(&call.input, &rules.marks);
        let principal_id = answer.principal_id().cloned();
        let (record, permit) = answer.into_parts();
        let mut asked = vec![asked_of(
            "tool",
            &request,
            request.tool.action_type.clone(),
            record,
            &secrets,
        )];
        let requested = first_hop.as_ref().map(|hop| hop.requested(&secrets));
        if let (Some(hop), Some(record)) = (&first_hop, egress) {
            asked.push(asked_of(
                "egress",
                &request,
                Some(hop.action_type.clone()),
                record,
                &secrets,
            ));
        }

        let barrier = asked
            .iter()
            .filter(|asked| asked.record.blocked)
            .max_by_key(|asked| (asked.record.decision, asked.category == "tool"));
        let Some(barrier) = barrier else {
            let Some(permit) = permit else {
                return Err(Undecided::NotFound.into());
            };
            let decided = decide::invoke(
                state,
                hand.turn,
                call,
                Invocation {
                    permit: &permit,
                    asked,
                    effect: resolved.facts.effect,
                    idempotent: resolved.facts.idempotent,
                    shown_input,
                    approval_id: grant.as_ref().map(|grant| grant.approval_id.clone()),
                    before: requested.into_iter().collect(),
                },
            );
            let permitted = Permitted {
                permit,
                resolved,
                request,
                input,
                grant,
                rules,
            };
            return Ok(Way::Open(Box::new(decided?), Box::new(permitted)));
        };

        let fails_at_once = progress
            .context
            .as_ref()
            .is_ok_and(|c| c.on_approval == OnApproval::Fail);
        if barrier.record.decision == Decision::RequireApproval && !fails_at_once {
            let request = ApprovalRequested {
                approval_id: progress.next_approval_id(&call.tool_call_id),
                question: ApprovalQuestion::MakeTheCall,
                tool_call_id: call.tool_call_id.clone(),
                tool_name: call.tool_name.clone(),
                definition_digest: resolved.definition().digest().clone(),
                input: shown_input,
                input_digest: input.digest().clone(),
                principal_id,
                decision: Some(both(&asked, &barrier.record)),
                expires_at: self.ask_until(),
            };
            return barred(decide::park_for_approval(
                state, hand.turn, call, &asked, request,
            )?);
        }
        let stage = if barrier.category == "egress" {
            Stage::Egress
        } else {
            Stage::ToolPolicy
        };
        let error = ErrorInfo::blocked(stage, &barrier.record);
        let mut events = Vec::new();
        if let (Stage::Egress, Some(hop)) = (stage, &first_hop) {
            events.extend(requested);
            events.push(blocked_hop(call, hop.host().as_str(), &error));
        }
        barred(decide::refuse(
            state, hand.turn, call, &asked, events, error,
        )?)
    }

    /// The call's input with its secrets in their places.
    async fn input_of(
        &self,
        hand: &AtHand<'_>,
        progress: &Progress,
        call: &PlannedCall,
    ) -> Result<Result<Input, SecretMissing>, TurnError> {
        let created = &progress.created;
        if created.secrets == 0 {
            return Ok(Ok(Input::from(call.input.clone())));
        }
        let state = &hand.run.state;
        let read = || {
            let (workspace, run) = (&state.workspace_id, &state.run_id);
            self.0
                .fleet
                .secrets(workspace, run, &created.content_digest)
        };
        let vault = hand
            .vault
            .get_or_try_init(|| async {
                let kept = Retry::for_servers()
                    .run("reading secrets", LayoutError::is_transient, read)
                    .await?;
                // Calls that refer to none of them can go on.
                Ok::<_, TurnError>(kept.unwrap_or_default())
            })
            .await?;
        Ok(Input::restored(&call.input, vault))
    }

    /// When an approval that is asked for now lapses.
    pub(crate) fn ask_until(&self) -> Timestamp {
        const DEFAULT: Duration = Duration::from_secs(24 * 3600);
        let ttl = self.0.authority.read(|snapshot| {
            snapshot
                .policy()
                .map_or(DEFAULT, |policy| policy.document().approvals.ttl.duration())
        });
        clock::now().plus(ttl)
    }
}

fn secrets_are_gone(missing: SecretMissing, call: &PlannedCall) -> ErrorInfo {
    let reason = format!("the run's secrets are gone: submit it again ({missing})");
    ErrorInfo::new(Stage::Input, ReasonCode::SecretMissing, reason).of_tool(&call.tool_name)
}

fn asked_of(
    category: &'static str,
    request: &ToolCallRequest,
    action_type: Option<String>,
    mut record: DecisionRecord,
    secrets: &Secrets,
) -> Asked {
    if !secrets.is_empty() {
        record.reason = secrets.clean_text(&record.reason);
        for finding in &mut record.findings {
            finding.reason = secrets.clean_text(&finding.reason);
        }
    }
    let hosts = request.hosts.iter().flatten();
    Asked {
        category,
        action_type,
        input_digest: Some(request.input_digest.clone()),
        hosts: hosts
            .map(|host| secrets.clean_text(host.as_str()))
            .collect(),
        record,
    }
}

/// The step of the call whose turn it is: the open one, or the next that has calls.
fn step_of(progress: &Progress) -> Option<StepId> {
    let steps = progress.plan.steps.iter().enumerate().skip(progress.step);
    let with_calls = steps.filter(|(index, step)| {
        let made = if *index == progress.step {
            progress.call
        } else {
            0
        };
        step.calls.len() > made
    });
    with_calls.map(|(_, step)| step.step_id.clone()).next()
}

pub(crate) fn ask_tool(
    snapshot: &Snapshot,
    request: &ToolCallRequest,
    grant: Option<&Grant>,
    now: Timestamp,
) -> gatewright_policy::Answer {
    let quota = quota_answer(quota_needed(request, snapshot, grant, now).is_some());
    authorize_tool_call(request, snapshot, grant, &quota, now)
}

pub(crate) fn ask_egress(
    snapshot: &Snapshot,
    request: &EgressRequest,
    grant: Option<&Grant>,
    now: Timestamp,
) -> gatewright_policy::EgressAnswer {
    let quota = quota_answer(egress_quota_needed(request, snapshot, grant, now).is_some());
    authorize_egress(request, snapshot, grant, &quota, now)
}

/// No counter that holds across the fleet exists in this version, so a call that needs one is denied, never let through uncounted.
fn quota_answer(is_needed: bool) -> QuotaAnswer {
    if is_needed {
        QuotaAnswer::Unavailable
    } else {
        QuotaAnswer::NotNeeded
    }
}

pub(crate) fn egress_request(request: &ToolCallRequest, hop: &HopRequest) -> EgressRequest {
    EgressRequest {
        workspace_id: request.workspace_id.clone(),
        room_id: request.room_id.clone(),
        run_id: request.run_id.clone(),
        step_id: request.step_id.clone(),
        tool_call_id: request.tool_call_id.clone(),
        context: request.context.clone(),
        tool: request.tool.clone(),
        input_digest: request.input_digest.clone(),
        hop: hop.hop,
        method: hop.method.clone(),
        host: hop.host().clone(),
        call_host: hop.call_host.clone(),
        action_type: hop.action_type.clone(),
        url_digest: hop.url_digest(),
    }
}

fn blocked_hop(call: &PlannedCall, host: &str, error: &ErrorInfo) -> EventBody {
    EventBody::EgressBlocked(EgressBlocked {
        tool_call_id: call.tool_call_id.clone(),
        hop: 0,
        host: host.to_owned(),
        error: error.clone(),
    })
}

/// The approval of this very call, where the run's history holds one.
fn grant_of(progress: &Progress, call: &PlannedCall) -> Option<Grant> {
    let waiting = progress.waiting.as_ref()?;
    let request = &waiting.request;
    if request.question != ApprovalQuestion::MakeTheCall
        || request.tool_call_id != call.tool_call_id
    {
        return None;
    }
    let findings = request
        .decision
        .iter()
        .flat_map(|decision| &decision.findings);
    Some(Grant {
        approval_id: request.approval_id.clone(),
        tool_call_id: request.tool_call_id.clone(),
        tool_name: request.tool_name.clone(),
        definition_digest: request.definition_digest.clone(),
        input_digest: request.input_digest.clone(),
        principal_id: request.principal_id.clone(),
        granted_findings: findings
            .filter(|finding| finding.decision == Decision::RequireApproval)
            .map(|finding| finding.reason_code)
            .collect(),
        expires_at: request.expires_at,
        state: match waiting.approved {
            None => GrantState::Pending,
            Some(true) => GrantState::Granted,
            Some(false) => GrantState::Denied,
        },
    })
}

/// What both questions objected to, under the heading of the one that weighs most.
fn both(asked: &[Asked], heaviest: &DecisionRecord) -> DecisionRecord {
    let mut record = heaviest.clone();
    record.findings = asked
        .iter()
        .flat_map(|asked| asked.record.findings.clone())
        .collect();
    record
}

fn max_age(snapshot: &Snapshot) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(30);
    snapshot.policy().map_or(DEFAULT, |policy| {
        policy.document().max_snapshot_age.duration()
    })
}

fn rules_of(snapshot: &Snapshot) -> Rules {
    match snapshot.policy() {
        Some(policy) => Rules::from(&policy.document().egress),
        // Without a policy every call is denied; these only tell what of its input may be shown.
        None => Rules::from(&gatewright_policy::document::Egress::default()),
    }
}
