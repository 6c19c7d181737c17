//! A run asks a person, parks, and goes on or fails with the answer.

use std::time::Duration;

use gatewright_policy::{
    approval::{self, NotMemorable, Tally},
    context::DEFAULT_ACTOR_ID,
    document::Approvals,
};
use gatewright_schemas::{
    ApprovalId, ErrorInfo, EventBody, ReasonCode, RememberedApproval, RememberedApprovalId, Stage,
    Timestamp,
    event::{
        ApprovalDecided, ApprovalExpired, ApprovalQuestion, ApprovalRequested, ApprovalVoted,
        RunSuspended, ToolFailed, WaitingFor,
    },
};

use super::{
    Asked, Turn, Undecided,
    call::{intents, push_refusals},
};
use crate::{Decided, PlannedCall, Progress, RunState, Vote, Waiting};

/// The terms of an approval that is asked for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// When it lapses.
    pub until: Timestamp,
    /// How many different people have to say yes.
    pub approvers: u8,
}

/// Asks for an approval of `call` and parks the run.
pub fn park_for_approval(
    state: &RunState,
    turn: Option<Turn>,
    call: &PlannedCall,
    asked: &[Asked],
    request: ApprovalRequested,
) -> Result<Decided, Undecided> {
    let mut decided = Decided::on(state);
    decided.begin(turn)?;
    decided.open_step()?;
    push_refusals(&mut decided, call, asked)?;
    push_request(&mut decided, request)?;
    Ok(decided)
}

pub(super) fn push_request(
    decided: &mut Decided,
    request: ApprovalRequested,
) -> Result<(), Undecided> {
    let waiting_for = WaitingFor::Approval {
        approval_id: request.approval_id.clone(),
        expires_at: request.expires_at,
    };
    decided.push(EventBody::ApprovalRequested(request))?;
    decided.push(EventBody::RunSuspended(RunSuspended { waiting_for }))?;
    Ok(())
}

/// Who answered an approval, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A person decided.
    Decided {
        /// Yes or no.
        approved: bool,
        /// Who.
        by: String,
        /// Why, for a person.
        reason: Option<String>,
        /// With a yes: for how long like calls may go without asking, in seconds.
        remember_s: Option<u64>,
    },
    /// Nobody did, in time.
    Expired,
}

/// By what a verdict is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Bench<'a> {
    /// The policy's rules, now.
    pub rules: &'a Approvals,
    /// Further names that the asking side goes by, beside those in the run's own `runtime.policy`.
    pub also_known_as: &'a [String],
    /// Now.
    pub now: Timestamp,
}

/// Records the answer. A yes may need more of them; with the last the run can be woken.
/// With a no, or none in time, the call and the run fail. A yes that comes too late is none in time.
pub fn answer_approval(
    state: &RunState,
    approval_id: &ApprovalId,
    verdict: Verdict,
    bench: &Bench<'_>,
) -> Result<Decided, Undecided> {
    let progress = state.progress.as_ref().ok_or(Undecided::NotFound)?;
    if let Some(fate) = progress.fate_of(approval_id) {
        return Err(Undecided::Answered(fate));
    }
    let waiting = progress.waiting.as_ref().filter(|waiting| {
        waiting.approved.is_none() && waiting.request.approval_id == *approval_id
    });
    let Some(waiting) = waiting else {
        return Err(Undecided::NotWaiting);
    };
    if progress.status.is_terminal() {
        return Err(Undecided::Ended);
    }
    let request = waiting.request.clone();
    let is_over = bench.now >= request.expires_at;
    let approval_id = approval_id.clone();
    let mut decided = Decided::on(state);
    let refusal = match verdict {
        _ if is_over => {
            decided.push(EventBody::ApprovalExpired(ApprovalExpired { approval_id }))?;
            Some((
                ReasonCode::ApprovalExpired,
                "nobody decided in time".to_owned(),
            ))
        }
        Verdict::Expired => {
            return Err(Undecided::NotExpired {
                expires_at: request.expires_at,
            });
        }
        Verdict::Decided {
            approved: false,
            by,
            reason,
            remember_s: _,
        } => {
            let because = reason
                .as_deref()
                .map(|r| format!(": {r}"))
                .unwrap_or_default();
            let refusal = format!("`{by}` denied the approval{because}");
            decided.push(EventBody::ApprovalDecided(ApprovalDecided {
                approval_id,
                approved: false,
                by,
                reason,
                voted_before: names(&waiting.votes),
                remember_s: None,
            }))?;
            Some((ReasonCode::ApprovalDenied, refusal))
        }
        Verdict::Decided {
            approved: true,
            by,
            reason,
            remember_s,
        } => {
            ensure_memorable(state, &request, remember_s, bench)?;
            decided.push(yes(progress, waiting, by, reason, remember_s, bench)?)?;
            None
        }
    };
    let Some((code, reason)) = refusal else {
        return Ok(decided);
    };
    let error = |stage| ErrorInfo::new(stage, code, reason).of_tool(&request.tool_name);
    match request.question {
        ApprovalQuestion::MakeTheCall => {
            let error = ErrorInfo {
                blocked: true,
                ..error(Stage::ToolPolicy)
            };
            decided.push(EventBody::ToolFailed(ToolFailed {
                tool_call_id: request.tool_call_id,
                tool_name: request.tool_name,
                error: error.clone(),
                executions: intents(state),
                duration_us: 0,
            }))?;
            // An outside agent learns of the refusal, and says how to go on.
            if progress.is_external() {
                decided.wind_up()?;
            } else {
                decided.fail(error)?;
            }
        }
        // The call was recorded as failed when the question was asked; with leave to go on that alone is no reason to fail.
        ApprovalQuestion::GoOnAfterUnknownOutcome => {
            let lost = progress.fatal.clone();
            decided.fail(lost.unwrap_or_else(|| error(Stage::Recovery)))?;
        }
    }
    Ok(decided)
}

/// The event of one more yes: the last that was missing, or one of several.
fn yes(
    progress: &Progress,
    waiting: &Waiting,
    by: String,
    reason: Option<String>,
    remember_s: Option<u64>,
    bench: &Bench<'_>,
) -> Result<EventBody, Undecided> {
    let request = &waiting.request;
    let asking = progress
        .plan
        .calls()
        .find(|call| call.tool_call_id == request.tool_call_id);
    let context = asking.and_then(|call| progress.context_of(call).as_ref().ok());
    // Under the default actor's name the fleet itself acts, not somebody who could approve.
    let actor = context.map(|context| context.actor.actor_id.as_str());
    let principal = request.principal_id.as_ref().map(AsRef::as_ref);
    let requesters: Vec<&str> = actor
        .filter(|actor| *actor != DEFAULT_ACTOR_ID)
        .into_iter()
        .chain(principal)
        .chain(bench.also_known_as.iter().map(String::as_str))
        .collect();
    let earlier: Vec<&str> = waiting.votes.iter().map(|vote| vote.by.as_str()).collect();
    let tally = approval::count(bench.rules, request.approvers, &requesters, &earlier, &by)?;
    let approval_id = request.approval_id.clone();
    Ok(match tally {
        Tally::Pending { missing } => EventBody::ApprovalVoted(ApprovalVoted {
            approval_id,
            by,
            reason,
            missing: u8::try_from(missing).unwrap_or(u8::MAX),
            remember_s,
        }),
        Tally::Granted => {
            // Remembered only if everybody wants that, and for no longer than anybody does.
            let wishes = waiting.votes.iter().map(|vote| vote.remember_s);
            let remember_s = wishes.fold(remember_s, |least, wish| least.zip(wish).map(min_of));
            EventBody::ApprovalDecided(ApprovalDecided {
                approval_id,
                approved: true,
                by,
                reason,
                voted_before: names(&waiting.votes),
                remember_s,
            })
        }
    })
}

fn min_of((a, b): (u64, u64)) -> u64 {
    a.min(b)
}

fn names(votes: &[Vote]) -> Vec<String> {
    votes.iter().map(|vote| vote.by.clone()).collect()
}

/// Whether an approval of `request` may hold for like calls, and for that long.
fn ensure_memorable(
    state: &RunState,
    request: &ApprovalRequested,
    remember_s: Option<u64>,
    bench: &Bench<'_>,
) -> Result<(), Undecided> {
    let Some(wish) = remember_s else {
        return Ok(());
    };
    let why = match bench.rules.max_remember {
        None => "the policy has no `approvals.max_remember`".to_owned(),
        Some(most) if Duration::from_secs(wish) > most.duration() => {
            format!("the policy's `approvals.max_remember` is {most}")
        }
        Some(_) => match remembered(state, request, Vec::new(), bench.now, wish) {
            Ok(_) => return Ok(()),
            Err(why) => why.to_string(),
        },
    };
    Err(Undecided::NotMemorable { why })
}

/// The approval of `request` as one that holds for like calls from `at` on, for `seconds`.
///
/// Named after the approval: whoever carries the decision out, and however often, one entry comes of it.
pub fn remembered(
    state: &RunState,
    request: &ApprovalRequested,
    approved_by: Vec<String>,
    at: Timestamp,
    seconds: u64,
) -> Result<RememberedApproval, NotMemorable> {
    let id = RememberedApprovalId::of(&request.approval_id);
    let (workspace, holds_for) = (state.workspace_id.clone(), Duration::from_secs(seconds));
    approval::remember(request, id, workspace, approved_by, at, holds_for)
}
