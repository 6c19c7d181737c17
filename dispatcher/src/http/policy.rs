//! The policy over HTTP: the active document and those before it, checking one, applying one, and what the gate would say of a run.
//!
//! There is one policy for the whole fleet: every key may read it, and only a key that is good for all workspaces may change it.

use std::{fmt, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use gatewright_bus::{authority::ActivePolicy, clock};
use gatewright_policy::{
    CompiledPolicy, DocumentFault, PolicyDocument, RunExplanation, Snapshot,
    document::{DocumentFaults, Verdict},
};
use gatewright_schemas::{
    Command, Digest, EnforcementMode, KeyRole, Submission, Violation, WorkspaceId, validate,
};
use gatewright_store::policy_revision::{self, PolicyRevision};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Api,
    authority::change,
    caller::Caller,
    problem::Problem,
    request::{Asked, Body, MOST_PAGE, Page, Where, asked, created, limit_of, page, read},
};

/// Says what the gate would answer to each call of a run, by what it is given. The tools are the workers' affair, and so this is handed in.
#[derive(Clone)]
pub struct Explain(Arc<Explaining>);

type Explaining = dyn Fn(&WorkspaceId, &Submission, &Snapshot) -> RunExplanation + Send + Sync;

impl Explain {
    /// By this function.
    pub fn by(
        explain: impl Fn(&WorkspaceId, &Submission, &Snapshot) -> RunExplanation + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(explain))
    }
}

impl fmt::Debug for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Explain")
    }
}

/// Which revisions are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    /// The `next` of the page before.
    after: Option<i64>,
    #[schemars(range(min = 1, max = MOST_PAGE))]
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentBody {
    /// The document, TOML.
    document: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainBody {
    /// A run as it would be submitted.
    #[schemars(with = "Submission")]
    run: Value,
    /// A document to ask instead of the active one, TOML.
    #[serde(default)]
    document: Option<String>,
}

/// A document that was made the active one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PolicyApplied {
    revision: u64,
    digest: Digest,
    mode: EnforcementMode,
    /// Rules that can never match, and the like.
    warnings: Vec<DocumentFault>,
}

/// The active document.
pub(super) async fn active(
    State(api): State<Arc<Api>>,
    _caller: Caller,
) -> Result<Json<ActivePolicy>, Problem> {
    let active = api.fleet.active_policy().await?;
    active
        .map(Json)
        .ok_or_else(|| Problem::not_found("no policy is active, so every call is denied"))
}

/// A page of the documents that were active, the latest first.
pub(super) async fn revisions(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    query: Asked<Listed>,
) -> Result<Json<Page<PolicyRevision>>, Problem> {
    let query = asked(query)?;
    let (before, limit) = (query.after.unwrap_or(i64::MAX), limit_of(query.limit)?);
    let fleet = WorkspaceId::fleet();
    let found = policy_revision::list(api.tables()?, &fleet, before, limit).await?;
    Ok(page(found, limit, |one| one.revision.to_string()))
}

/// One of them.
pub(super) async fn revision(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    Path(revision): Path<String>,
) -> Result<Json<PolicyRevision>, Problem> {
    let missing = || Problem::not_found("there is no such revision of the policy");
    let revision: i64 = revision.parse().map_err(|_| missing())?;
    let (fleet, before) = (WorkspaceId::fleet(), revision.saturating_add(1));
    let found = policy_revision::list(api.tables()?, &fleet, before, 1).await?;
    let found = found.into_iter().find(|found| found.revision == revision);
    found.map(Json).ok_or_else(missing)
}

/// Says what is wrong with a document, and what of it can never match.
pub(super) async fn check(_caller: Caller, body: Body) -> Result<Json<Verdict>, Problem> {
    let DocumentBody { document } = read(body)?;
    Ok(Json(Verdict::of(&document)))
}

/// Makes a document the active one.
pub(super) async fn apply(
    State(api): State<Arc<Api>>,
    caller: Caller,
    body: Body,
) -> Result<Json<PolicyApplied>, Problem> {
    caller.must_be(KeyRole::Admin)?;
    caller.must_be_the_fleets()?;
    let DocumentBody { document } = read(body)?;
    let parsed = PolicyDocument::parse(&document).map_err(|faults| invalid(&faults))?;
    let warnings = parsed.placed_warnings(&document);
    let command = Command::ApplyPolicy { document };
    let reply = change(&api, &caller, &WorkspaceId::fleet(), command).await?;
    let (_, _, revision) = created(reply)?;
    Ok(Json(PolicyApplied {
        revision,
        digest: parsed.digest(),
        mode: parsed.mode,
        warnings,
    }))
}

fn invalid(faults: &DocumentFaults) -> Problem {
    let told = faults.0.iter().map(|fault| {
        let at = fault.position;
        let message = format!("line {}, column {}: {}", at.line, at.column, fault.message);
        Violation::new(fault.pointer.clone(), message)
    });
    Problem::refused(None, "the policy document is not valid", told.collect())
        .with_status(StatusCode::UNPROCESSABLE_ENTITY)
}

/// What the gate would say of each call of a run, check by check; nothing is submitted, and nothing counted.
pub(super) async fn explain(
    State(api): State<Arc<Api>>,
    caller: Caller,
    query: Asked<Where>,
    body: Body,
) -> Result<Json<RunExplanation>, Problem> {
    let workspace = caller.workspace(asked(query)?.workspace)?;
    let ExplainBody { run, document } = read(body)?;
    let explain = api.options.explain.as_ref().ok_or_else(|| {
        let detail = "this dispatcher knows no tools, and cannot explain";
        Problem::new(StatusCode::NOT_IMPLEMENTED, detail)
    })?;
    let submission = validate::submission(run.to_string().as_bytes()).map_err(|invalid| {
        let detail = "not a run that could be submitted";
        Problem::refused(None, detail, invalid.0).with_status(StatusCode::UNPROCESSABLE_ENTITY)
    })?;
    let mut snapshot = api.fleet.authority_now().await?;
    if let Some(text) = document {
        let document = PolicyDocument::parse(&text).map_err(|faults| invalid(&faults))?;
        let digest = document.digest();
        let active = snapshot.policy().map_or(0, |policy| policy.revision());
        let compiled = CompiledPolicy::new(document, active + 1, digest);
        snapshot.set_policy(Some(Arc::new(compiled)));
        // The question is what the document says, not whether a copy of another is fresh.
        snapshot.set_synced_at(clock::now());
    }
    Ok(Json((explain.0)(&workspace, &submission, &snapshot)))
}
