//! Which stored rows a batch of commits continues.

use std::collections::HashSet;

use gatewright_schemas::{
    CapabilityTokenId, Commit, Event, EventType, PrincipalId, RememberedApprovalId, RunId,
    StoredCommit, ToolCallId, WorkspaceId,
};
use gatewright_store::projection::{Batch, Needs};

/// The rows that folding `commits` into `batch` will touch and that `batch` lacks.
///
/// It may name rows that do not exist, and leaves none out that does.
pub fn of(batch: &Batch, commits: &[StoredCommit]) -> Needs {
    let mut needs = Needs::default();
    let mut created: HashSet<(&WorkspaceId, &RunId)> = HashSet::new();
    let mut continued: HashSet<(&WorkspaceId, &RunId)> = HashSet::new();
    for commit in commits.iter().map(|stored| &stored.commit) {
        if commit.run_id == RunId::authority() {
            authority(&mut needs, batch, commit);
            continue;
        }
        let key = (&commit.workspace_id, &commit.run_id);
        if creates(commit) {
            created.insert(key);
        }
        if created.contains(&key) || batch.runs.has(key.0, key.1) {
            continue;
        }
        if continued.insert(key) {
            needs
                .runs
                .push((commit.workspace_id.clone(), commit.run_id.clone()));
        }
        commit
            .events
            .iter()
            .for_each(|event| children(&mut needs, event));
    }
    needs
}

fn creates(commit: &Commit) -> bool {
    commit.events.first().is_some_and(|event| {
        matches!(
            event.event_type,
            EventType::RunCreated | EventType::RunRejected
        )
    })
}

fn named<'a>(event: &'a Event, field: &str) -> Option<&'a str> {
    event.data.get(field)?.as_str()
}

/// The step and the call that an event is about; they may have ended before, and then do not come with the run.
fn children(needs: &mut Needs, event: &Event) {
    if let Ok(number) = crate::ids::step_number(event) {
        needs
            .steps
            .push((event.workspace_id.clone(), event.run_id.clone(), number));
    }
    if let Some(call) = named(event, "tool_call_id").and_then(|id| ToolCallId::new(id).ok()) {
        needs.calls.push(call);
    }
}

fn authority(needs: &mut Needs, batch: &Batch, commit: &Commit) {
    for event in &commit.events {
        let token = named(event, "token_id").and_then(|id| CapabilityTokenId::new(id).ok());
        if let Some(token) = token
            && event.event_type == EventType::CapabilityRevoked
            && !batch
                .tokens
                .has(|row| row.token_id == token && row.workspace_id == event.workspace_id)
        {
            needs.tokens.push((event.workspace_id.clone(), token));
        }
        let remembered =
            named(event, "remembered_id").and_then(|id| RememberedApprovalId::new(id).ok());
        if let Some(remembered) = remembered
            && event.event_type == EventType::ApprovalForgotten
            && !batch.remembered.has(|row| {
                row.remembered_id == remembered && row.workspace_id == event.workspace_id
            })
        {
            needs
                .remembered
                .push((event.workspace_id.clone(), remembered));
        }
        let principal = match event.event_type {
            EventType::PrincipalRegistered => event
                .data
                .get("principal")
                .and_then(|p| p.get("principal_id")?.as_str()),
            EventType::PrincipalQuarantined | EventType::PrincipalReleased => {
                named(event, "principal_id")
            }
            _ => None,
        };
        if let Some(principal) = principal.and_then(|id| PrincipalId::new(id).ok())
            && !batch
                .principals
                .has(|row| row.principal_id == principal && row.workspace_id == event.workspace_id)
        {
            needs
                .principals
                .push((event.workspace_id.clone(), principal));
        }
    }
    // A key that is asked for twice would be answered once, but bound twice.
    needs.tokens.sort();
    needs.tokens.dedup();
    needs.principals.sort();
    needs.principals.dedup();
    needs.remembered.sort();
    needs.remembered.dedup();
}
