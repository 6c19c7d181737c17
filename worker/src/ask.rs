//! Putting a call before the gate, and making of its answer what the run records.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gatewright_bus::{clock, layout::LayoutError, retry::Retry};
use gatewright_policy::{
    EscalatedProfile, Grant, Permit, QuotaAnswer, Snapshot, ToolCallRequest, approval,
    escalated_profile, explain_egress, host::hosts_in, redact::SecretMissing,
};
use gatewright_run::{
    Decided, PlannedCall, Progress,
    decide::{self, Asked, Invocation, Terms, Undecided},
};
use gatewright_schemas::{
    Decision, DecisionRecord, ErrorInfo, EventBody, GateFacts, OnApproval, PrincipalId, ReasonCode,
    Stage, StepId, Timestamp,
    event::{ApprovalQuestion, ApprovalRequested, EgressBlocked, QuotaExceeded},
};
use serde_json::Value;

use crate::{
    Worker,
    egress::{HopRequest, Redacted, Rules, Secrets, first_hop},
    purse::{Purse, ask_egress, ask_tool},
    recorded::{cleaned, facts_of, told_host},
    tool::{Input, ResolvedCall},
    turn::{AtHand, TurnError},
};

/// How long a worker waits for a fresh copy of the policy before it asks the gate all the same, which then denies.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a replica that lags is waited for.
const CATCHES_UP: Duration = Duration::from_secs(3);

/// The gate is asked about the call itself…
const TOOL: &str = "tool";
/// …and about the request to the outside that it makes.
const EGRESS: &str = "egress";

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
    pub(crate) purses: Purses,
}

/// What a call has in hand of the limits that it consumes.
pub(crate) struct Purses {
    /// For the tool's limit.
    pub(crate) tool: Purse,
    /// For that of requests to the outside.
    pub(crate) egress: Purse,
}

/// A call as it is put before the gate.
struct Question {
    input: Input,
    resolved: ResolvedCall,
    request: ToolCallRequest,
    /// The request to the outside that the call begins with, where it makes one.
    first_hop: Option<HopRequest>,
    grant: Option<Grant>,
}

/// A call that does not get as far as the gate.
struct Unfit {
    error: ErrorInfo,
    events: Vec<EventBody>,
}

/// What the gate answered, both times where it was asked twice.
struct Answers {
    asked: Vec<Asked>,
    permit: Option<Permit>,
    principal_id: Option<PrincipalId>,
    rules: Rules,
    /// The input as it may be shown.
    shown_input: Value,
    /// `egress.requested`, where the call begins with a request to the outside.
    requested: Option<EventBody>,
    /// What the call asks for beside its ordinary sandbox.
    sandbox_profile: Option<Arc<EscalatedProfile>>,
}

impl Worker {
    /// Asks the gate about the call, under the state of the world as this worker knows it now.
    pub(crate) async fn ask(
        &self,
        hand: &AtHand<'_>,
        call: &PlannedCall,
    ) -> Result<Way, TurnError> {
        let state = &hand.run.state;
        let question = match self.question(hand, call).await? {
            Ok(question) => question,
            Err(Unfit { error, events }) => {
                let refused = decide::refuse(state, hand.turn, call, &[], events, error)?;
                return Ok(Way::Barred(Box::new(refused)));
            }
        };
        let max_age = self.0.authority.read(max_age);
        self.0.authority.fresh(max_age, PATIENCE).await;
        let mut purses = Purses {
            tool: Purse::new(&self.0.quotas),
            egress: Purse::new(&self.0.quotas),
        };
        let answers = loop {
            let put = |snapshot: &_| question.put(snapshot, call, clock::now(), &mut purses);
            if let Some(answers) = self.0.authority.read(put) {
                break answers;
            }
            purses.tool.fetch().await;
            purses.egress.fetch().await;
        };
        self.way(hand, call, question, answers, purses)
    }

    /// Makes the question: finds the tool, checks the input, reads the hosts in it.
    async fn question(
        &self,
        hand: &AtHand<'_>,
        call: &PlannedCall,
    ) -> Result<Result<Question, Unfit>, TurnError> {
        let state = &hand.run.state;
        let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
        let unfit = |error, events| Ok(Err(Unfit { error, events }));
        let input = match self.input_of(hand, progress, call).await? {
            Ok(input) => input,
            Err(missing) => return unfit(secrets_are_gone(missing, call), Vec::new()),
        };
        let resolved = match self.0.registry.resolve(&call.tool_name, input.real()) {
            Ok(resolved) => resolved,
            Err(error) => return unfit(input.cleaned(error), Vec::new()),
        };
        let through_gateway = resolved.definition().through_gateway;
        let first_hop = through_gateway.then(|| first_hop(&call.tool_call_id, input.real()));
        let first_hop = match first_hop.transpose() {
            Ok(first_hop) => first_hop,
            Err(error) => {
                let blocked = blocked_hop(call, "", &error);
                return unfit(error, vec![blocked]);
            }
        };
        let request = ToolCallRequest {
            workspace_id: state.workspace_id.clone(),
            room_id: progress.created.submission.room_id.clone(),
            run_id: state.run_id.clone(),
            step_id: step_of(progress).ok_or(Undecided::NotFound)?,
            tool_call_id: call.tool_call_id.clone(),
            context: progress.context_of(call).clone(),
            tool: resolved.policy_facts(),
            input_digest: input.digest().clone(),
            hosts: hosts_in(input.real()),
            sandbox_permissions: call.sandbox_permissions.clone(),
        };
        Ok(Ok(Question {
            grant: progress.grant_for(call),
            input,
            resolved,
            request,
            first_hop,
        }))
    }

    /// What comes of the answers: the intent, a park, or a refusal.
    fn way(
        &self,
        hand: &AtHand<'_>,
        call: &PlannedCall,
        question: Question,
        answers: Answers,
        purses: Purses,
    ) -> Result<Way, TurnError> {
        let state = &hand.run.state;
        let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
        let Question {
            input,
            resolved,
            request,
            first_hop,
            grant,
        } = question;
        let Answers {
            asked,
            permit,
            principal_id,
            rules,
            shown_input,
            requested,
            sandbox_profile,
        } = answers;
        // The heaviest answer that stops the call; of two alike the tool call's own.
        let barrier = asked
            .iter()
            .filter(|asked| asked.record.blocked)
            .max_by_key(|asked| (asked.record.decision, asked.category == TOOL));
        let Some(barrier) = barrier else {
            let permit = permit.ok_or(Undecided::NotFound)?;
            let invocation = Invocation {
                permit: &permit,
                asked,
                effect: resolved.facts.effect,
                idempotent: resolved.facts.idempotent,
                shown_input,
                approval_id: grant.as_ref().map(|grant| grant.approval_id.clone()),
                before: requested.into_iter().collect(),
            };
            let decided = decide::invoke(state, hand.turn, call, invocation)?;
            let permitted = Permitted {
                permit,
                resolved,
                request,
                input,
                grant,
                rules,
                purses,
            };
            return Ok(Way::Open(Box::new(decided), Box::new(permitted)));
        };

        let context = progress.context_of(call).as_ref();
        let waits = context.is_ok_and(|c| c.on_approval == OnApproval::Wait);
        let decided = if barrier.record.decision == Decision::RequireApproval && waits {
            let terms = self.terms();
            let record = both(&asked, &barrier.record);
            let hosts = asked
                .first()
                .map_or_else(Vec::new, |asked| asked.hosts.clone());
            let through_gateway = resolved.definition().through_gateway;
            let approval = ApprovalRequested {
                approval_id: progress.next_approval_id(&call.tool_call_id),
                question: ApprovalQuestion::MakeTheCall,
                tool_call_id: call.tool_call_id.clone(),
                tool_name: call.tool_name.clone(),
                definition_digest: resolved.definition().digest().clone(),
                input: shown_input,
                input_digest: input.digest().clone(),
                principal_id,
                asked_by: context.ok().map(|context| context.actor.clone()),
                likeness: approval::likeness(through_gateway, &hosts, &record.findings),
                hosts,
                effect: Some(resolved.facts.effect),
                sandbox_permissions: call.sandbox_permissions.clone(),
                decision: Some(record),
                sandbox_profile: sandbox_profile.as_deref().map(EscalatedProfile::shown),
                approvers: terms.approvers,
                expires_at: terms.until,
            };
            decide::park_for_approval(state, hand.turn, call, &asked, approval)?
        } else if barrier.category == TOOL {
            let error = ErrorInfo::blocked(Stage::ToolPolicy, &barrier.record);
            decide::refuse(state, hand.turn, call, &asked, Vec::new(), error)?
        } else {
            let error = ErrorInfo::blocked(Stage::Egress, &barrier.record);
            let host = first_hop.as_ref().map_or("", |hop| hop.host().as_str());
            let mut events: Vec<EventBody> = requested.into_iter().collect();
            events.push(blocked_hop(call, host, &error));
            decide::refuse(state, hand.turn, call, &asked, events, error)?
        };
        Ok(Way::Barred(Box::new(decided)))
    }

    /// The call's input with its secrets in their places.
    async fn input_of(
        &self,
        hand: &AtHand<'_>,
        progress: &Progress,
        call: &PlannedCall,
    ) -> Result<Result<Input, SecretMissing>, TurnError> {
        let created = &progress.created;
        // An outside agent's call has secrets of its own; those of a planned one came with the run.
        let kept_as = match &call.request {
            Some(request) => request.secrets.as_ref(),
            None => (created.secrets > 0).then_some(&created.content_digest),
        };
        let Some(kept_as) = kept_as else {
            return Ok(Ok(Input::from(call.input.clone())));
        };
        let state = &hand.run.state;
        let read = || {
            let (workspace, run) = (&state.workspace_id, &state.run_id);
            self.0.fleet.secrets(workspace, run, kept_as)
        };
        let vault = hand
            .vault
            .get_or_try_init(|| async {
                let ask =
                    || Retry::for_servers().run("reading secrets", LayoutError::is_transient, read);
                let mut kept = ask().await?;
                // A replica that lags shows none of a run that has some: it is asked again before it is believed.
                let mut retry = Retry::for_conflicts();
                let asked = Instant::now();
                while kept.is_none() && asked.elapsed() < CATCHES_UP {
                    retry.wait().await;
                    kept = ask().await?;
                }
                // Calls that refer to none of them can go on.
                Ok::<_, TurnError>(kept.unwrap_or_default())
            })
            .await?;
        Ok(Input::restored(&call.input, vault))
    }

    /// The terms of an approval that is asked for now.
    pub(crate) fn terms(&self) -> Terms {
        // Without a policy no call gets as far as a question.
        let rules = self.0.authority.read(Snapshot::approvals);
        Terms {
            until: clock::now().plus(rules.ttl.duration()),
            approvers: rules.approvers,
        }
    }
}

impl Question {
    /// Puts the question under one state of the world: the call itself, and unless that is denied its request to the outside.
    /// No answer when something has to be fetched into the purses first.
    fn put(
        &self,
        snapshot: &Snapshot,
        call: &PlannedCall,
        now: Timestamp,
        purses: &mut Purses,
    ) -> Option<Answers> {
        let rules = rules_of(snapshot);
        let grant = self.grant.as_ref();
        let (answer, exceeded) = ask_tool(snapshot, &self.request, grant, now, &mut purses.tool)?;
        let principal_id = answer.principal_id().cloned();
        let (record, permit) = answer.into_parts();
        let (is_blocked, is_denied) = (
            record.blocked,
            record.blocked && record.decision == Decision::Deny,
        );
        let hop = match self.first_hop.as_ref().filter(|_| !is_denied) {
            Some(hop) => {
                let request = hop.of_call(&self.request);
                let (record, exceeded) = if is_blocked {
                    // It waits for an approval and takes nothing yet: judged as if there were enough.
                    let quota = QuotaAnswer::NotNeeded;
                    (
                        explain_egress(&request, snapshot, grant, &quota, now).decision,
                        None,
                    )
                } else {
                    let (answer, exceeded) =
                        ask_egress(snapshot, &request, grant, now, &mut purses.egress)?;
                    (answer.into_parts().0, exceeded)
                };
                Some((request, record, exceeded))
            }
            None => None,
        };

        let Redacted {
            value: shown_input,
            secrets,
        } = self.input.shown(&call.input, &rules.marks);
        let asked_of = |facts, action_type, record, exceeded| {
            asked_of(
                &self.request,
                facts,
                action_type,
                record,
                exceeded,
                &secrets,
            )
        };
        let action_type = self.request.tool.action_type.clone();
        let sandbox_profile = escalated_profile(&self.request, snapshot, now);
        let mut facts = facts_of(&self.request, None, grant, &secrets);
        if let Some(profile) = &sandbox_profile {
            facts.sandbox_profile = Some(profile.digest.clone());
        }
        let mut asked = vec![asked_of(facts, action_type, record, exceeded)];
        if let Some((request, record, exceeded)) = hop {
            let facts = facts_of(&self.request, Some(&request), grant, &secrets);
            let action_type = Some(request.action_type);
            asked.push(asked_of(facts, action_type, record, exceeded));
        }
        let requested = self.first_hop.as_ref().map(|hop| hop.requested(&secrets));
        Some(Answers {
            asked,
            permit,
            principal_id,
            rules,
            shown_input,
            requested,
            sandbox_profile,
        })
    }
}

fn secrets_are_gone(missing: SecretMissing, call: &PlannedCall) -> ErrorInfo {
    let reason = format!("the run's secrets are gone: submit it again ({missing})");
    ErrorInfo::new(Stage::Input, ReasonCode::SecretMissing, reason).of_tool(&call.tool_name)
}

/// A question about the call, or with `facts` of one about a request to the outside, and its answer.
pub(crate) fn asked_of(
    request: &ToolCallRequest,
    facts: GateFacts,
    action_type: Option<String>,
    record: DecisionRecord,
    exceeded: Option<QuotaExceeded>,
    secrets: &Secrets,
) -> Asked {
    let hosts = request.hosts.iter().flatten();
    Asked {
        category: if facts.hop.is_some() { EGRESS } else { TOOL },
        action_type,
        input_digest: Some(request.input_digest.clone()),
        hosts: hosts.map(|host| told_host(host, secrets)).collect(),
        facts,
        record: cleaned(record, request, secrets),
        exceeded,
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

fn blocked_hop(call: &PlannedCall, host: &str, error: &ErrorInfo) -> EventBody {
    EventBody::EgressBlocked(EgressBlocked {
        tool_call_id: call.tool_call_id.clone(),
        hop: 0,
        host: host.to_owned(),
        error: error.clone(),
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
