//! Case files: `tests/cases/*.toml`, each a little world and calls in it with the answers that the gate must give.

use std::{collections::BTreeSet, fs, path::Path};

use gatewright_policy::{
    Grant, GrantState, Host, PolicyDocument, QuotaAnswer, Snapshot, ToolCallRequest,
    authorize_egress, authorize_tool_call, egress_quota_needed, escalated_profile, quota_needed,
};
use gatewright_schemas::{
    CapabilityToken, DataAccess, Decision, DecisionRecord, Digest, Effect, EnforcementMode,
    Principal, ReasonCode, RememberedApproval, Timestamp, WorkspaceId,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::world;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    /// The policy of all cases.
    policy: String,
    #[serde(default)]
    tokens: Vec<CapabilityToken>,
    #[serde(default)]
    principals: Vec<Principal>,
    #[serde(default)]
    remembered: Vec<RememberedCase>,
    case: Vec<Case>,
}

/// An approval that was given for a call like this one, and is remembered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RememberedCase {
    id: String,
    workspace: Option<WorkspaceId>,
    principal_id: String,
    tool: String,
    #[serde(default)]
    hosts: Vec<String>,
    /// The input that binds it; without one its hosts do.
    input: Option<Value>,
    settles: Vec<ReasonCode>,
    approved_by: Option<Vec<String>>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    revoked: bool,
    /// The tool was another one then, of the same name.
    #[serde(default)]
    other_definition: bool,
    /// Given for the sandbox's profile that this policy has.
    with_profile_of: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a case file's flags, each of which stands alone"
)]
struct Case {
    name: String,
    /// Laid over the file's policy, table by table.
    policy: Option<String>,
    #[serde(default)]
    no_policy: bool,
    synced_at: Option<Timestamp>,
    #[serde(default)]
    never_synced: bool,
    workspace: Option<WorkspaceId>,
    /// `lobby` when absent; an empty text is no room.
    room: Option<String>,
    #[serde(default)]
    context: Value,
    tool: String,
    effect: Option<Effect>,
    action_type: Option<String>,
    #[serde(default)]
    requires_token: bool,
    #[serde(default)]
    data: DataAccess,
    #[serde(default)]
    input: Value,
    sandbox_permissions: Option<String>,
    #[serde(default)]
    sandboxed: bool,
    egress: Option<EgressCase>,
    grant: Option<GrantCase>,
    /// `granted` (when absent), `not_asked`, `exceeded`, `unavailable` or `other`.
    quota: Option<String>,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EgressCase {
    method: String,
    url: String,
    action_type: String,
    /// The host of a redirect.
    redirected_to: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantCase {
    state: Option<String>,
    #[serde(default)]
    settles: Vec<ReasonCode>,
    /// Given for another one of these.
    other: Option<String>,
    expires_at: Option<Timestamp>,
    principal_id: Option<String>,
    /// Given for the sandbox's profile that this policy has.
    with_profile_of: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    decision: Decision,
    code: ReasonCode,
    mode: Option<EnforcementMode>,
    /// The codes of all findings; not looked at when absent.
    findings: Option<Vec<ReasonCode>>,
    /// A part of the reason.
    reason: Option<String>,
    principal_id: Option<String>,
    /// The counter that one unit has to be reserved of.
    reserves: Option<String>,
}

/// Every case of every file.
fn all() -> Vec<(String, CaseFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<(String, CaseFile)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let file = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, file)
        })
        .collect();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    files
}

#[test]
fn the_gate_answers_as_the_case_files_say() {
    let mut wrong = Vec::new();
    for (file_name, file) in all() {
        for case in &file.case {
            if let Err(difference) = check(&file, case) {
                wrong.push(format!("{file_name}: {}: {difference}", case.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Codes that are some other part's to give. A new code belongs into the cases or in here, whoever adds it decides.
const NOT_THE_GATES: [ReasonCode; 28] = [
    ReasonCode::ActorGaveUp,
    ReasonCode::RunNotExternal,
    ReasonCode::RunBusy,
    ReasonCode::StepNotOpen,
    ReasonCode::RunTooLong,
    ReasonCode::RequestKeyConflict,
    ReasonCode::ApproverNotAllowed,
    ReasonCode::ToolNotFound,
    ReasonCode::ToolInputInvalid,
    ReasonCode::ToolTimeout,
    ReasonCode::ToolOutputTooLarge,
    ReasonCode::ToolExecutionFailed,
    ReasonCode::SandboxUnavailable,
    ReasonCode::SecretMissing,
    ReasonCode::OutcomeUnknown,
    ReasonCode::EgressUrlInvalid,
    ReasonCode::EgressAddressNotAllowed,
    ReasonCode::EgressHostNotFound,
    ReasonCode::EgressConnectionFailed,
    ReasonCode::EgressTooManyRedirects,
    ReasonCode::SubmissionInvalid,
    ReasonCode::RunIdConflict,
    ReasonCode::DeadlineExceeded,
    ReasonCode::AttemptsExhausted,
    ReasonCode::CancelRequested,
    ReasonCode::HistoryUnreadable,
    ReasonCode::CommitRefused,
    ReasonCode::InternalError,
];

#[test]
fn every_reason_code_of_the_gate_is_in_some_case() {
    let shown: BTreeSet<ReasonCode> = all()
        .iter()
        .flat_map(|(_, file)| &file.case)
        .map(|case| case.expect.code)
        .collect();
    let missing: Vec<&ReasonCode> = ReasonCode::ALL
        .iter()
        .filter(|code| !shown.contains(code) && !NOT_THE_GATES.contains(code))
        // Of a delegation, not of a call: see `delegations.rs`.
        .filter(|code| **code != ReasonCode::DelegationRefused)
        .collect();
    assert!(
        missing.is_empty(),
        "no case in tests/cases/ ends with {missing:?}"
    );
    let borrowed: Vec<&ReasonCode> = NOT_THE_GATES.iter().filter(|c| shown.contains(c)).collect();
    assert!(
        borrowed.is_empty(),
        "the gate gives {borrowed:?}, so they are no others' codes"
    );
}

fn check(file: &CaseFile, case: &Case) -> Result<(), String> {
    let snapshot = snapshot(file, case);
    let call = call(case);
    let grant = case.grant.as_ref().map(|grant| self::grant(&call, grant));
    let (record, principal, permit, needed) = answer(case, &snapshot, &call, grant.as_ref());
    let expect = &case.expect;
    let mut differs = Vec::new();
    let mut compare = |what: &str, found: String, expected: String| {
        if found != expected {
            differs.push(format!("{what} is {found}, not {expected}"));
        }
    };
    compare(
        "decision",
        record.decision.to_string(),
        expect.decision.to_string(),
    );
    compare(
        "code",
        record.reason_code.to_string(),
        expect.code.to_string(),
    );
    let mode = expect.mode.unwrap_or(EnforcementMode::Enforce);
    compare(
        "mode",
        record.enforcement_mode.to_string(),
        mode.to_string(),
    );
    let blocked = mode == EnforcementMode::Enforce && expect.decision != Decision::Allow;
    compare("blocked", record.blocked.to_string(), blocked.to_string());
    compare("permit", permit.to_string(), (!blocked).to_string());
    if let Some(codes) = &expect.findings {
        let found: Vec<ReasonCode> = record.findings.iter().map(|f| f.reason_code).collect();
        compare("findings", format!("{found:?}"), format!("{codes:?}"));
    }
    if let Some(id) = &expect.principal_id {
        compare("principal", principal.unwrap_or_default(), id.clone());
    }
    if let Some(counter) = &expect.reserves {
        compare("reserves", needed.unwrap_or_default(), counter.clone());
    }
    if let Some(part) = expect
        .reason
        .as_ref()
        .filter(|part| !record.reason.contains(*part))
    {
        differs.push(format!(
            "reason is \"{}\", without \"{part}\"",
            record.reason
        ));
    }
    if differs.is_empty() {
        Ok(())
    } else {
        Err(differs.join("; "))
    }
}

type Answered = (DecisionRecord, Option<String>, bool, Option<String>);

fn answer(
    case: &Case,
    snapshot: &Snapshot,
    call: &ToolCallRequest,
    grant: Option<&Grant>,
) -> Answered {
    let now = world::now();
    let Some(egress) = &case.egress else {
        let needed = quota_needed(call, snapshot, grant, now);
        let quota = quota(case, needed.clone());
        let answer = authorize_tool_call(call, snapshot, grant, &quota, now);
        let principal = answer.principal_id().map(ToString::to_string);
        let (record, permit) = answer.into_parts();
        return (
            record,
            principal,
            permit.is_some(),
            needed.map(|quota| quota.name),
        );
    };
    let mut request = world::request_of(call, &egress.method, &egress.url, &egress.action_type);
    if let Some(host) = &egress.redirected_to {
        request = world::redirected(&request, Host::parse(host).unwrap().as_str());
    }
    let needed = egress_quota_needed(&request, snapshot, grant, now);
    let quota = quota(case, needed.clone());
    let answer = authorize_egress(&request, snapshot, grant, &quota, now);
    let principal = answer.principal_id().map(ToString::to_string);
    let (record, permit) = answer.into_parts();
    (
        record,
        principal,
        permit.is_some(),
        needed.map(|quota| quota.name),
    )
}

fn quota(case: &Case, needed: Option<gatewright_policy::Quota>) -> QuotaAnswer {
    match (case.quota.as_deref(), needed) {
        (None | Some("granted"), Some(quota)) => QuotaAnswer::Granted(quota),
        (None, None) | (Some("not_asked"), _) => QuotaAnswer::NotNeeded,
        (Some("other"), Some(quota)) => QuotaAnswer::Granted(gatewright_policy::Quota {
            name: "tool.other".into(),
            ..quota
        }),
        (Some("exceeded"), Some(quota)) => QuotaAnswer::Exceeded {
            name: quota.name,
            limit: quota.limit,
            resets_at: quota.window.resets_at(world::now()),
        },
        (Some("unavailable"), _) => QuotaAnswer::Unavailable,
        (Some(word), needed) => panic!("quota `{word}` with {needed:?} needed"),
    }
}

fn snapshot(file: &CaseFile, case: &Case) -> Snapshot {
    let mut policy: toml::Table = file.policy.parse().unwrap();
    if let Some(over) = &case.policy {
        lay_over(&mut policy, over.parse().unwrap());
    }
    let mut snapshot = world::snapshot(&policy.to_string());
    if case.no_policy {
        snapshot.set_policy(None);
    }
    if let Some(synced_at) = case.synced_at {
        snapshot.set_synced_at(synced_at);
    }
    if case.never_synced {
        let mut unsynced = Snapshot::new();
        unsynced.set_policy(snapshot.policy().cloned());
        snapshot = unsynced;
    }
    for token in &file.tokens {
        snapshot.upsert_token(token.clone());
    }
    for principal in &file.principals {
        snapshot.upsert_principal(principal.clone());
    }
    for case in &file.remembered {
        snapshot.upsert_remembered(remembered(case));
    }
    snapshot
}

fn remembered(case: &RememberedCase) -> RememberedApproval {
    let definition = if case.other_definition {
        Digest::of(&json!("another"))
    } else {
        let call = world::call(&case.tool, &Value::Null);
        call.tool.definition_digest
    };
    RememberedApproval {
        remembered_id: case.id.parse().unwrap(),
        workspace_id: case.workspace.clone().unwrap_or_else(world::acme),
        approval_id: "acme.r0.1.1.a1".parse().unwrap(),
        principal_id: world::principal_id(&case.principal_id),
        actor: gatewright_policy::PolicyContext::default().actor,
        effect: Effect::Write,
        tool_name: case.tool.clone(),
        definition_digest: definition,
        hosts: case.hosts.clone(),
        input_digest: case.input.as_ref().map(Digest::of),
        sandbox_profile: case.with_profile_of.as_ref().map(|policy| {
            let snapshot = world::snapshot(policy);
            let profile = snapshot.policy().and_then(|p| p.escalated_profile());
            profile.unwrap().digest.clone()
        }),
        findings: case.settles.clone(),
        approved_by: case.approved_by.clone().unwrap_or(vec!["ann".into()]),
        remembered_at: world::at("2026-03-04T11:00:00Z"),
        expires_at: case.expires_at.unwrap_or(world::at("2026-03-04T13:00:00Z")),
        revoked_at: case.revoked.then(|| world::at("2026-03-04T11:30:00Z")),
    }
}

fn lay_over(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => lay_over(under, over),
            (_, value) => _ = under.insert(key, value),
        }
    }
}

fn call(case: &Case) -> ToolCallRequest {
    let mut call = world::call(&case.tool, &case.context);
    if let Some(workspace) = &case.workspace {
        call.workspace_id = workspace.clone();
    }
    if let Some(room) = &case.room {
        call.room_id = Some(room.clone()).filter(|room| !room.is_empty());
    }
    call.tool.effect = case.effect.unwrap_or(Effect::None);
    call.tool.action_type.clone_from(&case.action_type);
    call.tool.requires_token = case.requires_token;
    call.tool.data = case.data.clone();
    call.tool.sandboxed = case.sandboxed;
    call.sandbox_permissions
        .clone_from(&case.sandbox_permissions);
    world::with_input(call, &case.input)
}

fn grant(call: &ToolCallRequest, case: &GrantCase) -> Grant {
    let mut grant = world::grant(call, &case.settles);
    grant.state = match case.state.as_deref() {
        None | Some("granted") => GrantState::Granted,
        Some("pending") => GrantState::Pending,
        Some("denied") => GrantState::Denied,
        Some("expired") => GrantState::Expired,
        Some("used") => GrantState::Used,
        Some("unknown") => GrantState::Unknown,
        Some(word) => panic!("grant state `{word}`"),
    };
    if let Some(expires_at) = case.expires_at {
        grant.expires_at = expires_at;
    }
    if let Some(id) = &case.principal_id {
        grant.principal_id = Some(world::principal_id(id));
    }
    if let Some(policy) = &case.with_profile_of {
        let policy = world::snapshot(policy);
        let profile = escalated_profile(call, &policy, world::now());
        grant.sandbox_profile = profile.map(|profile| profile.digest.clone());
    }
    match case.other.as_deref() {
        None => {}
        Some("input") => grant.input_digest = Digest::of(&json!("another")),
        Some("definition") => grant.definition_digest = Digest::of(&json!("another")),
        Some("tool") => grant.tool_name = "another".into(),
        Some("call") => grant.tool_call_id = "acme.r1.1.2".parse().unwrap(),
        Some("sandbox profile") => grant.sandbox_profile = Some(Digest::of(&json!("another"))),
        Some("principal") => grant.principal_id = Some(world::principal_id("another")),
        Some(word) => panic!("grant for another `{word}`"),
    }
    grant
}

#[test]
fn the_example_documents_are_valid_and_have_no_dead_rules() {
    for name in ["default", "strict"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.toml"));
        let document = PolicyDocument::parse(&fs::read_to_string(path).unwrap())
            .unwrap_or_else(|faults| panic!("{name}: {faults}"));
        assert_eq!(document.warnings(), [], "{name}");
        assert_eq!(document.mode, EnforcementMode::Enforce, "{name}");
    }
}
