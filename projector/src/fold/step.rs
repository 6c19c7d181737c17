//! `steps`.

use gatewright_schemas::{Event, EventBody, StepStatus};
use gatewright_store::projection::{RunRows, StepRow};

use super::Unreadable;
use crate::ids::{integer, step_number};

pub(super) fn apply(rows: &mut RunRows, event: &Event, body: &EventBody) -> Result<(), Unreadable> {
    match body {
        EventBody::StepCreated(created) => {
            let number = step_number(event)?;
            let step_id = event
                .step_id
                .clone()
                .ok_or_else(|| Unreadable::field(event, "step_id"))?;
            if number != integer(created.number) {
                return Err(Unreadable::field(event, "number"));
            }
            if rows.steps.find(|step| step.number == number).is_none() {
                rows.steps.add(StepRow {
                    created_at: event.occurred_at,
                    ended_at: None,
                    number,
                    workspace_id: event.workspace_id.clone(),
                    run_id: event.run_id.clone(),
                    step_id,
                    status: StepStatus::Running,
                    title: created.title.clone(),
                });
            }
        }
        EventBody::StepCompleted(completed) => {
            let number = step_number(event)?;
            if let Some(step) = rows.steps.find(|step| step.number == number) {
                step.status = completed.status;
                step.ended_at = Some(event.occurred_at);
            }
        }
        _ => {}
    }
    Ok(())
}
