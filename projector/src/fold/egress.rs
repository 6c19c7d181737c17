//! `egress_requests`: one row for each hop of each call.

use gatewright_schemas::{Event, EventBody, ToolCallId};
use gatewright_store::projection::{EgressRow, EgressStatus, RunRows};

use super::Unreadable;
use crate::ids::{call_numbers, integer};

pub(super) fn apply(rows: &mut RunRows, event: &Event, body: &EventBody) -> Result<(), Unreadable> {
    match body {
        EventBody::EgressRequested(requested) => {
            let row = find_or_add(
                rows,
                event,
                &requested.tool_call_id,
                requested.hop,
                &requested.host,
            )?;
            // A call that is executed again asks again; its row tells of the last time.
            row.requests = row.requests.saturating_add(1);
            row.status = EgressStatus::Requested;
            row.ended_at = None;
            row.http_status = None;
            row.address = None;
            row.error = None;
            row.method = Some(requested.method.clone());
            row.action_type = Some(requested.action_type.clone());
            row.url = Some(requested.url.clone());
        }
        EventBody::EgressAllowed(allowed) => {
            let row = find_or_add(
                rows,
                event,
                &allowed.tool_call_id,
                allowed.hop,
                &allowed.host,
            )?;
            row.status = EgressStatus::Allowed;
            row.ended_at = Some(event.occurred_at);
            row.address.clone_from(&allowed.address);
            row.http_status = allowed.status.map(i32::from);
        }
        EventBody::EgressBlocked(blocked) => {
            let row = find_or_add(
                rows,
                event,
                &blocked.tool_call_id,
                blocked.hop,
                &blocked.host,
            )?;
            row.status = EgressStatus::Blocked;
            row.ended_at = Some(event.occurred_at);
            row.error = Some(blocked.error.clone());
        }
        _ => {}
    }
    Ok(())
}

fn find_or_add<'a>(
    rows: &'a mut RunRows,
    event: &Event,
    id: &ToolCallId,
    hop: u32,
    host: &str,
) -> Result<&'a mut EgressRow, Unreadable> {
    let (step_number, call_number) = call_numbers(event, id)?;
    let hop = integer(hop);
    let is_it = |row: &EgressRow| {
        row.hop == hop && row.call_number == call_number && row.step_number == step_number
    };
    if !rows.egress.has(is_it) {
        rows.egress.add(EgressRow {
            requested_at: event.occurred_at,
            ended_at: None,
            step_number,
            call_number,
            hop,
            requests: 0,
            http_status: None,
            workspace_id: event.workspace_id.clone(),
            run_id: event.run_id.clone(),
            tool_call_id: id.clone(),
            status: EgressStatus::Requested,
            method: None,
            action_type: None,
            host: String::new(),
            address: None,
            url: None,
            error: None,
        });
    }
    let row = rows
        .egress
        .find(is_it)
        .ok_or_else(|| Unreadable::field(event, "tool_call_id"))?;
    host.clone_into(&mut row.host);
    Ok(row)
}
