//! Every route: its path, what serves it, who may use it, and what goes in and comes out.

use std::sync::Arc;

use axum::Router;
use gatewright_bus::{authority::ActivePolicy, presence::Sighting};
use gatewright_policy::{RunExplanation, document::Verdict};
use gatewright_schemas::{KeyRole, RememberedApproval, Submission};
use gatewright_store::{
    approval::Approval, capability::Capability, dead_letter::DeadLetter, decision::Decision,
    policy_revision::PolicyRevision, principal::Principal, remembered_approval::Standing, run::Run,
    step::Step, tool_call::ToolCall,
};

use super::{
    Api, agent, approval, authority, chain, dead_letter, health, history,
    openapi::{Operation, Routes},
    outcome::Outcome,
    overview, own_key, parts, policy, remembered,
    request::{Page, Where},
    run, tool_call, worker,
};

const PREFER: &str = "`wait=SECONDS`, at most 60; or `respond-async`";
const IDEMPOTENCY: &str = "The request may be sent again under this key; 1 to 200 characters";

/// Printable ASCII; a key may stand in quotes, which are not part of it.
const KEY: &str = "^[!#-~]([ -~]{0,198}[!#-~])?$";
const PRINTABLE: &str = "^[ -~]*$";
/// The sequence of a commit, and a place in it.
const EVENT: &str = "^[0-9]{1,18}\\.[0-9]{1,9}$";

pub(super) fn router() -> Router<Arc<Api>> {
    let routes = health(Routes::new());
    let routes = of_agents(of_runs(routes));
    let routes = of_approvals(routes);
    of_fleet(of_policy(of_authority(routes))).served()
}

fn health(routes: Routes) -> Routes {
    routes
        .get("/health", health::alive, |op| {
            op.named("health", "Whether the process answers")
                .answers::<health::Health>(200, "It does")
        })
        .get("/ready", health::ready, |op| {
            op.named("ready", "Whether it is connected and takes messages")
                .answers::<health::Health>(200, "It does")
        })
}

fn of_runs(routes: Routes) -> Routes {
    routes
        .get("/v1/runs", run::list, |op| {
            listed::<run::Listed, Run>(op.named("listRuns", "A page of runs, the youngest first"))
        })
        .post("/v1/runs", run::submit, |op| {
            op.named("submitRun", "Submit a run")
                .by(KeyRole::Submitter)
                .query::<Where>()
                .body::<Submission>()
                .answers::<run::Answer>(201, "The run is new")
                .answers::<run::Answer>(200, "It was there already")
        })
        .get("/v1/runs/{run}", run::show, |op| {
            op.named("showRun", "Where a run stands")
                .by_any_key()
                .query::<Where>()
                .answers::<run::Shown>(200, "The run")
        })
        .post("/v1/runs/{run}/cancel", run::cancel, |op| {
            op.named("cancelRun", "End a run now")
                .by(KeyRole::Submitter)
                .query::<Where>()
                .body_if_any::<run::CancelBody>()
                .answers::<run::Answer>(200, "It has ended")
        })
        .post("/v1/runs/{run}/retry", run::retry, |op| {
            op.named("retryRun", "Begin a failed or cancelled run anew")
                .by(KeyRole::Submitter)
                .query::<Where>()
                .body_if_any::<run::RetryBody>()
                .answers::<run::Answer>(201, "The new run")
        })
        .get("/v1/runs/{run}/events", history::events, |op| {
            listed::<history::Shown, history::Line>(op.named("listEvents", "A page of its events"))
        })
        .get("/v1/runs/{run}/chain", chain::check, |op| {
            op.named("checkChain", "Whether its hash chain holds")
                .by_any_key()
                .query::<Where>()
                .answers::<chain::ChainChecked>(200, "What was found")
        })
        .get("/v1/runs/{run}/tail", history::tail, |op| {
            op.named("tailRun", "Its events as they come")
                .by_any_key()
                .query::<history::Tailed>()
                .header("Last-Event-ID", "The last event that was seen", EVENT)
                .answers_events()
        })
        .get("/v1/runs/{run}/steps", parts::steps, |op| {
            listed::<parts::Listed, Step>(op.named("listSteps", "A page of its steps"))
        })
        .get("/v1/runs/{run}/toolcalls", parts::tool_calls, |op| {
            listed::<parts::Listed, ToolCall>(op.named("listToolCalls", "A page of its tool calls"))
        })
        .get("/v1/runs/{run}/decisions", parts::decisions, |op| {
            let op = op.named("listDecisions", "A page of what the gate said of them");
            listed::<parts::Listed, Decision>(op)
        })
}

fn of_agents(routes: Routes) -> Routes {
    routes
        .post("/v1/runs/{run}/steps", agent::open_step, |op| {
            op.named("openStep", "Open a step of an outside agent's run")
                .by(KeyRole::Actor)
                .query::<Where>()
                .header("Idempotency-Key", IDEMPOTENCY, KEY)
                .body_if_any::<agent::StepBody>()
                .answers::<agent::StepOpened>(201, "The step")
        })
        .post("/v1/runs/{run}/complete", agent::complete, |op| {
            op.named("completeRun", "End an outside agent's run")
                .by(KeyRole::Actor)
                .query::<Where>()
                .body_if_any::<agent::CompleteBody>()
                .answers::<run::Answer>(200, "It has ended")
        })
        .post("/v1/steps/{step}/toolcalls", tool_call::ask, |op| {
            op.named("callTool", "Ask for one tool call of an open step")
                .by(KeyRole::Actor)
                .header("Idempotency-Key", IDEMPOTENCY, KEY)
                .header("Prefer", PREFER, PRINTABLE)
                .body::<tool_call::CallBody>()
                .answers::<Outcome>(200, "It succeeded: its output")
                .answers::<Outcome>(202, "It is under way, or waits for an approval")
        })
        .get("/v1/toolcalls/{call}", tool_call::show, |op| {
            op.named("showToolCall", "How far a tool call has come")
                .by_any_key()
                .header("Prefer", PREFER, PRINTABLE)
                .answers::<Outcome>(200, "The call")
        })
}

fn of_approvals(routes: Routes) -> Routes {
    routes
        .get("/v1/approvals", approval::list, |op| {
            listed::<approval::Listed, Approval>(op.named("listApprovals", "A page of approvals"))
        })
        .get("/v1/approvals/{approval}", approval::show, |op| {
            op.named("showApproval", "One approval, with the exact input")
                .by_any_key()
                .answers::<Approval>(200, "The approval")
        })
        .post(
            "/v1/approvals/{approval}/approve",
            approval::approve,
            |op| {
                op.named("approve", "Say yes, in the key's name")
                    .by(KeyRole::Approver)
                    .body_if_any::<approval::ApproveBody>()
                    .answers::<approval::Decided>(200, "It is counted")
            },
        )
        .post("/v1/approvals/{approval}/deny", approval::deny, |op| {
            op.named("deny", "Say no, in the key's name")
                .by(KeyRole::Approver)
                .body_if_any::<approval::DenyBody>()
                .answers::<approval::Decided>(200, "It is denied")
        })
        .get("/v1/remembered-approvals", remembered::list, |op| {
            let op = op.named(
                "listRememberedApprovals",
                "A page of approvals that hold, or held, for like calls",
            );
            listed::<authority::Listed, Standing>(op)
        })
        .post(
            "/v1/remembered-approvals/{remembered}/revoke",
            remembered::revoke,
            |op| {
                op.named("revokeRememberedApproval", "Ask about each call again")
                    .by(KeyRole::Approver)
                    .query::<Where>()
                    .body_if_any::<authority::WhyBody>()
                    .answers::<RememberedApproval>(200, "It holds no longer")
            },
        )
}

fn of_authority(routes: Routes) -> Routes {
    routes
        .get("/v1/capabilities", authority::capabilities, |op| {
            let op = op.named("listCapabilities", "A page of capability tokens");
            listed::<authority::Listed, Capability>(op)
        })
        .post("/v1/capabilities", authority::grant, |op| {
            op.named("grantCapability", "Grant a capability token")
                .by(KeyRole::Admin)
                .query::<Where>()
                .body::<authority::GrantBody>()
                .answers::<authority::TokenChanged>(201, "The token")
        })
        .get("/v1/capabilities/{token}", authority::capability, |op| {
            op.named("showCapability", "One capability token")
                .by_any_key()
                .query::<Where>()
                .answers::<Capability>(200, "The token")
        })
        .post("/v1/capabilities/{token}/revoke", authority::revoke, |op| {
            op.named("revokeCapability", "Revoke a token and all its descendants")
                .by(KeyRole::Admin)
                .query::<Where>()
                .body_if_any::<authority::WhyBody>()
                .answers::<authority::TokenChanged>(200, "It is revoked")
        })
        .get("/v1/principals", authority::principals, |op| {
            let op = op.named("listPrincipals", "A page of principals");
            listed::<authority::Listed, Principal>(op)
        })
        .post("/v1/principals", authority::register, |op| {
            op.named("registerPrincipal", "Make a principal known")
                .by(KeyRole::Admin)
                .query::<Where>()
                .body::<authority::RegisterBody>()
                .answers::<authority::PrincipalChanged>(201, "It is known")
        })
        .post(
            "/v1/principals/{principal}/quarantine",
            authority::quarantine,
            |op| {
                op.named("quarantinePrincipal", "Forbid a principal everything")
                    .by(KeyRole::Admin)
                    .query::<Where>()
                    .body::<authority::QuarantineBody>()
                    .answers::<authority::PrincipalChanged>(200, "It is quarantined")
            },
        )
        .post(
            "/v1/principals/{principal}/release",
            authority::release,
            |op| {
                op.named("releasePrincipal", "Lift a quarantine")
                    .by(KeyRole::Admin)
                    .query::<Where>()
                    .body_if_any::<authority::WhyBody>()
                    .answers::<authority::PrincipalChanged>(200, "It is lifted")
            },
        )
}

fn of_policy(routes: Routes) -> Routes {
    routes
        .get("/v1/policy", policy::active, |op| {
            op.named("showPolicy", "The active policy document")
                .by_any_key()
                .answers::<ActivePolicy>(200, "The document")
        })
        .post("/v1/policy", policy::apply, |op| {
            op.named("applyPolicy", "Make a document the active one")
                .by(KeyRole::Admin)
                .body::<policy::DocumentBody>()
                .answers::<policy::PolicyApplied>(200, "It is active")
        })
        .post("/v1/policy/validate", policy::check, |op| {
            op.named("validatePolicy", "Check a document")
                .by_any_key()
                .body::<policy::DocumentBody>()
                .answers::<Verdict>(200, "What is wrong with it, if anything")
        })
        .post("/v1/policy/explain", policy::explain, |op| {
            op.named("explainPolicy", "What the gate would say of a run")
                .by_any_key()
                .query::<Where>()
                .body::<policy::ExplainBody>()
                .answers::<RunExplanation>(200, "Call by call, check by check")
        })
        .get("/v1/policy/revisions", policy::revisions, |op| {
            let op = op.named(
                "listPolicyRevisions",
                "A page of documents that were active",
            );
            listed::<policy::Listed, PolicyRevision>(op)
        })
        .get("/v1/policy/revisions/{revision}", policy::revision, |op| {
            op.named("showPolicyRevision", "One of them")
                .by_any_key()
                .answers::<PolicyRevision>(200, "The document")
        })
}

fn of_fleet(routes: Routes) -> Routes {
    routes
        .get("/v1/key", own_key::show, |op| {
            op.named("showKey", "What the key of the request is good for")
                .by_any_key()
                .answers::<own_key::OwnKey>(200, "Its name, roles and workspace")
        })
        .get("/v1/overview", overview::show, |op| {
            op.named("showOverview", "How the fleet does at a glance")
                .by_any_key()
                .query::<overview::Asks>()
                .answers::<overview::Overview>(200, "Counts that are bounded, and say so")
        })
        .get("/v1/dead-letters", dead_letter::list, |op| {
            let op = op.named(
                "listDeadLetters",
                "A page of messages that could not be worked on",
            );
            listed::<dead_letter::Listed, DeadLetter>(op)
        })
        .get("/v1/dead-letters/{sequence}", dead_letter::show, |op| {
            op.named("showDeadLetter", "One of them")
                .by_any_key()
                .answers::<dead_letter::Shown>(200, "The message")
        })
        .post(
            "/v1/dead-letters/{sequence}/replay",
            dead_letter::replay,
            |op| {
                op.named("replayDeadLetter", "Send it again")
                    .by(KeyRole::Admin)
                    .answers::<run::Answer>(200, "It was accepted")
            },
        )
        .get("/v1/workers", worker::list, |op| {
            op.named(
                "listWorkers",
                "The workers, as they last said of themselves",
            )
            .by_any_key()
            .answers::<Page<Sighting>>(200, "All of them")
        })
}

/// A list that any key may see.
fn listed<Q: schemars::JsonSchema, T: schemars::JsonSchema>(op: Operation<'_>) -> Operation<'_> {
    op.by_any_key()
        .query::<Q>()
        .answers::<Page<T>>(200, "A page")
}
