//! What a call has in hand of the limits that it consumes: the bridge between the gate, which never waits, and the fleet's counters.
//!
//! 1. The gate is asked what the call needs ([`gatewright_policy::quota_needed`]), under one state of the world.
//! 2. It is in the purse: the gate is asked about the call under that same state. Otherwise it is fetched, and then from 1,
//!    since the world may have changed meanwhile; not without end.
//! 3. The call is made: the unit is spent. The purse is dropped before: the unit goes back.

use std::time::Instant;

use gatewright_bus::{
    authority::LiveSnapshot,
    clock,
    quota::{NotReserved, QuotaLeases, Reservation},
    telemetry,
};
use gatewright_policy::{
    EgressAnswer, EgressRequest, Grant, Quota, QuotaAnswer, Snapshot, ToolCallRequest,
    authorize_egress, authorize_tool_call, egress_quota_needed, quota_needed,
};
use gatewright_run::plan;
use gatewright_schemas::{Timestamp, ToolCallId, event::QuotaExceeded};

use crate::span;

/// How often something is fetched for one question. Only a policy that changes, or a window that ends, makes it more than once.
const FETCHES: u32 = 5;

/// A place for one unit of one limit.
pub(crate) struct Purse {
    leases: QuotaLeases,
    inside: Option<Inside>,
    wanted: Option<Wanted>,
    fetches: u32,
}

/// What the gate needs of the shell.
#[derive(Clone)]
struct Wanted {
    quota: Quota,
    /// Of the policy that sets it.
    revision: u64,
    now: Timestamp,
}

enum Inside {
    Unit(Reservation),
    Refusal { of: Wanted, answer: QuotaAnswer },
}

impl Purse {
    pub(crate) fn new(leases: &QuotaLeases) -> Self {
        Self {
            leases: leases.clone(),
            inside: None,
            wanted: None,
            fetches: 0,
        }
    }

    /// Uses up the unit inside, if there is one: the call is made.
    pub(crate) fn spend(&mut self) {
        if let Some(Inside::Unit(reservation)) = self.inside.take() {
            reservation.spend();
        }
        self.fetches = 0;
    }

    /// The answer to what the gate needs; none when it has to be fetched first.
    fn answer(
        &mut self,
        needed: Option<Quota>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<QuotaAnswer> {
        let Some(quota) = needed else {
            // What would not run, or has no limit, consumes nothing.
            self.inside = None;
            return Some(QuotaAnswer::NotNeeded);
        };
        let revision = snapshot.policy().map_or(0, |policy| policy.revision());
        let wanted = Wanted {
            quota,
            revision,
            now,
        };
        match &self.inside {
            Some(Inside::Unit(unit)) if unit.covers(&wanted.quota, revision, now) => {
                return Some(QuotaAnswer::Granted(wanted.quota));
            }
            Some(Inside::Refusal { of, answer }) if of.is_as(&wanted) => {
                return Some(answer.clone());
            }
            _ => {}
        }
        if self.fetches == FETCHES {
            tracing::warn!(quota = %wanted.quota.name, "the policy changes faster than a limit can be reserved");
            return Some(QuotaAnswer::Unavailable);
        }
        self.wanted = Some(wanted);
        None
    }

    /// Fetches what the gate needed last.
    pub(crate) async fn fetch(&mut self) {
        let Some(wanted) = self.wanted.take() else {
            return;
        };
        self.inside = None;
        self.fetches += 1;
        let Wanted {
            quota,
            revision,
            now,
        } = &wanted;
        self.inside = Some(match self.leases.reserve(quota, *revision, *now).await {
            Ok(unit) => Inside::Unit(unit),
            Err(refused) => Inside::Refusal {
                answer: answer_of(refused),
                of: wanted,
            },
        });
    }
}

impl Wanted {
    fn is_as(&self, other: &Self) -> bool {
        let window = self.quota.window;
        self.quota == other.quota
            && self.revision == other.revision
            && window.starts_at(self.now) == window.starts_at(other.now)
    }
}

fn answer_of(refused: NotReserved) -> QuotaAnswer {
    match refused {
        NotReserved::Exceeded {
            name,
            limit,
            resets_at,
        } => QuotaAnswer::Exceeded {
            name,
            limit,
            resets_at,
        },
        NotReserved::Unavailable { name, source } => {
            tracing::error!(quota = %name, error = %source, "a counter cannot be asked, and what it limits is denied");
            QuotaAnswer::Unavailable
        }
    }
}

/// Puts a question that is answered once everything that it needs is in the purse.
pub(crate) async fn answered<T>(
    authority: &LiveSnapshot,
    purse: &mut Purse,
    put: impl Fn(&Snapshot, Timestamp, &mut Purse) -> Option<T>,
) -> T {
    loop {
        if let Some(answer) = authority.read(|snapshot| put(snapshot, clock::now(), purse)) {
            return answer;
        }
        purse.fetch().await;
    }
}

/// An answer of the gate, and what to record where a limit is reached.
pub(crate) type Told<A> = (A, Option<QuotaExceeded>);

/// The gate's answer to a tool call; none when something has to be fetched for it first.
pub(crate) fn ask_tool(
    snapshot: &Snapshot,
    request: &ToolCallRequest,
    grant: Option<&Grant>,
    now: Timestamp,
    purse: &mut Purse,
) -> Option<Told<gatewright_policy::Answer>> {
    let needed = quota_needed(request, snapshot, grant, now);
    let quota = purse.answer(needed, snapshot, now)?;
    let began = Instant::now();
    let answer = authorize_tool_call(request, snapshot, grant, &quota, now);
    let took = began.elapsed();
    telemetry::decided("tool", answer.record(), took);
    let (call, name) = (&request.tool_call_id, &request.tool.name);
    span::of_decision("tool", call, name, answer.record(), took);
    Some((answer, exceeded(quota, &request.tool_call_id)))
}

/// The gate's answer to a request to the outside; none when something has to be fetched for it first.
pub(crate) fn ask_egress(
    snapshot: &Snapshot,
    request: &EgressRequest,
    grant: Option<&Grant>,
    now: Timestamp,
    purse: &mut Purse,
) -> Option<Told<EgressAnswer>> {
    let needed = egress_quota_needed(request, snapshot, grant, now);
    let quota = purse.answer(needed, snapshot, now)?;
    let began = Instant::now();
    let answer = authorize_egress(request, snapshot, grant, &quota, now);
    let took = began.elapsed();
    telemetry::decided("egress", answer.record(), took);
    let (call, name) = (&request.tool_call_id, plan::EGRESS);
    span::of_decision("egress", call, name, answer.record(), took);
    Some((answer, exceeded(quota, &request.tool_call_id)))
}

fn exceeded(quota: QuotaAnswer, call: &ToolCallId) -> Option<QuotaExceeded> {
    match quota {
        QuotaAnswer::Exceeded {
            name,
            limit,
            resets_at,
        } => Some(QuotaExceeded {
            tool_call_id: call.clone(),
            quota: name,
            limit,
            resets_at,
        }),
        _ => None,
    }
}
