//! What derived ids tell: the numbers of step and call.

use gatewright_schemas::{Event, StepId, ToolCallId};

use crate::Unreadable;

/// The number of the step that the event is about.
pub(crate) fn step_number(event: &Event) -> Result<i32, Unreadable> {
    let step_id = event
        .step_id
        .as_ref()
        .ok_or_else(|| Unreadable::field(event, "step_id"))?;
    let number =
        last_number(step_id.as_str()).ok_or_else(|| Unreadable::field(event, "step_id"))?;
    let expected = StepId::of(&event.workspace_id, &event.run_id, number);
    if *step_id != expected {
        return Err(Unreadable::field(event, "step_id"));
    }
    i32::try_from(number).map_err(|_| Unreadable::field(event, "step_id"))
}

/// The numbers of the step and the call within it.
pub(crate) fn call_numbers(event: &Event, call: &ToolCallId) -> Result<(i32, i32), Unreadable> {
    let unreadable = || Unreadable::field(event, "tool_call_id");
    let (step, number) = call.as_str().rsplit_once('.').ok_or_else(unreadable)?;
    let step = last_number(step).ok_or_else(unreadable)?;
    let number: usize = number.parse().map_err(|_| unreadable())?;
    if *call != ToolCallId::of(&event.workspace_id, &event.run_id, step, number) {
        return Err(unreadable());
    }
    let narrow = |number| i32::try_from(number).map_err(|_| unreadable());
    Ok((narrow(step)?, narrow(number)?))
}

fn last_number(id: &str) -> Option<usize> {
    id.rsplit_once('.')?.1.parse().ok()
}

/// A count as the tables have it; what is beyond is held at the end.
pub(crate) fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A number as the tables have it; what is beyond is held at the end.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
