//! The hash chain of a run: how a commit is sealed, and how a history is checked.
//!
//! Each event carries `hash`, the SHA-256 of the canonical encoding of its other fields, and `prev_hash`, the hash before it.
//! So no event can be changed, dropped, added or moved without every later hash being wrong.

use serde::Serialize;
use serde_json::Value;

use crate::{
    Commit, CommitId, Digest, Event, EventBody, EventId, EventType, PrincipalId, RunId, StepId,
    Timestamp, WorkspaceId, Zone,
    event::{Actor, EVENT_VERSION},
};

/// The end of a run's chain: where the next event joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainHead {
    /// `seq` of the last event; 0 when there is none.
    pub seq: u64,
    /// `hash` of the last event.
    pub hash: Option<Digest>,
}

/// What the events of a commit share.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Id of the commit to seal.
    pub commit_id: CommitId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The run.
    pub run_id: RunId,
    /// The attempt at the run.
    pub attempt: u32,
    /// Who acts.
    pub actor: Actor,
    /// On whose authority.
    pub actor_principal_id: Option<PrincipalId>,
    /// The zone that the run acts in.
    pub zone: Zone,
    /// The room, where the run has one.
    pub room_id: Option<String>,
    /// The thread, where the run has one.
    pub thread_id: Option<String>,
    /// What ties it to other work.
    pub correlation_id: Option<String>,
    /// The event or message that led to it.
    pub causation_id: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// Everything of an [`Event`] but its hash, in alphabetical order.
#[derive(Serialize)]
struct Unhashed<'a> {
    actor: &'a Actor,
    actor_principal_id: &'a Option<PrincipalId>,
    causation_id: &'a Option<String>,
    correlation_id: &'a Option<String>,
    data: &'a Value,
    event_id: &'a EventId,
    event_type: EventType,
    event_version: u16,
    occurred_at: Timestamp,
    prev_hash: &'a Option<Digest>,
    room_id: &'a Option<String>,
    run_id: &'a RunId,
    seq: u64,
    step_id: &'a Option<StepId>,
    thread_id: &'a Option<String>,
    workspace_id: &'a WorkspaceId,
    zone: Zone,
}

/// The hash that `event` must carry.
pub fn hash_of(event: &Event) -> Digest {
    let unhashed = Unhashed {
        actor: &event.actor,
        actor_principal_id: &event.actor_principal_id,
        causation_id: &event.causation_id,
        correlation_id: &event.correlation_id,
        data: &event.data,
        event_id: &event.event_id,
        event_type: event.event_type,
        event_version: event.event_version,
        occurred_at: event.occurred_at,
        prev_hash: &event.prev_hash,
        room_id: &event.room_id,
        run_id: &event.run_id,
        seq: event.seq,
        step_id: &event.step_id,
        thread_id: &event.thread_id,
        workspace_id: &event.workspace_id,
        zone: event.zone,
    };
    // A struct of strings, numbers and JSON values has no way to fail to serialise.
    Digest::of_bytes(&serde_json::to_vec(&unhashed).unwrap_or_default())
}

/// Puts `bodies` (each with the step it concerns) into the envelope and joins them to the chain at `head`.
pub fn seal(
    head: &ChainHead,
    envelope: Envelope,
    bodies: Vec<(Option<StepId>, EventBody)>,
) -> Commit {
    let mut head = head.clone();
    let mut events = Vec::with_capacity(bodies.len());
    for (place, (step_id, body)) in bodies.into_iter().enumerate() {
        let mut event = Event {
            actor: envelope.actor.clone(),
            actor_principal_id: envelope.actor_principal_id.clone(),
            causation_id: envelope.causation_id.clone(),
            correlation_id: envelope.correlation_id.clone(),
            data: body.to_data(),
            event_id: EventId::of(&envelope.commit_id, place + 1),
            event_type: body.event_type(),
            event_version: EVENT_VERSION,
            hash: Digest::of_bytes(b""),
            occurred_at: envelope.occurred_at,
            prev_hash: head.hash.take(),
            room_id: envelope.room_id.clone(),
            run_id: envelope.run_id.clone(),
            seq: head.seq + 1,
            step_id,
            thread_id: envelope.thread_id.clone(),
            workspace_id: envelope.workspace_id.clone(),
            zone: envelope.zone,
        };
        event.hash = hash_of(&event);
        head = ChainHead {
            seq: event.seq,
            hash: Some(event.hash.clone()),
        };
        events.push(event);
    }
    Commit {
        commit_id: envelope.commit_id,
        workspace_id: envelope.workspace_id,
        run_id: envelope.run_id,
        attempt: envelope.attempt,
        events,
    }
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// An event is missing, doubled or out of place.
    #[error("event `{event_id}` has seq {found} where {expected} belongs")]
    Gap {
        /// The event.
        event_id: EventId,
        /// The seq that belongs there.
        expected: u64,
        /// The seq that stands there.
        found: u64,
    },
    /// An event does not join the one before it.
    #[error("event `{event_id}` (seq {seq}) does not continue the event before it")]
    NotJoined {
        /// The event.
        event_id: EventId,
        /// Its seq.
        seq: u64,
    },
    /// An event is not what was hashed.
    #[error(
        "event `{event_id}` (seq {seq}) is not what was written: its hash does not match its content"
    )]
    Altered {
        /// The event.
        event_id: EventId,
        /// Its seq.
        seq: u64,
    },
}

/// Checks that `event` continues the chain at `head`, and moves `head` on to it.
pub fn verify(head: &mut ChainHead, event: &Event) -> Result<(), BrokenChain> {
    let (event_id, seq) = (event.event_id.clone(), event.seq);
    if seq != head.seq + 1 {
        return Err(BrokenChain::Gap {
            event_id,
            expected: head.seq + 1,
            found: seq,
        });
    }
    if event.prev_hash != head.hash {
        return Err(BrokenChain::NotJoined { event_id, seq });
    }
    if event.hash != hash_of(event) {
        return Err(BrokenChain::Altered { event_id, seq });
    }
    *head = ChainHead {
        seq,
        hash: Some(event.hash.clone()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ActorType, WriterId, event::RunCancelled};

    fn history(commits: usize) -> Vec<Event> {
        let mut head = ChainHead::default();
        let mut events = Vec::new();
        for n in 1..=commits {
            let envelope = Envelope {
                commit_id: CommitId::new(format!("c{n}")).unwrap(),
                workspace_id: WorkspaceId::new("acme").unwrap(),
                run_id: RunId::new("r1").unwrap(),
                attempt: 1,
                actor: Actor {
                    actor_id: WriterId::new("w1").unwrap().to_string(),
                    actor_type: ActorType::Service,
                },
                actor_principal_id: None,
                zone: Zone::Sandbox,
                room_id: Some("räum \"1\"\u{202e}".into()),
                thread_id: None,
                correlation_id: None,
                causation_id: None,
                occurred_at: Timestamp::from_micros(
                    1_700_000_000_000_000 + i64::try_from(n).unwrap(),
                ),
            };
            let body = || {
                EventBody::RunCancelled(RunCancelled {
                    reason: Some("é".into()),
                    by: "me".into(),
                })
            };
            let commit = seal(&head, envelope, vec![(None, body()), (None, body())]);
            for event in &commit.events {
                verify(&mut head, event).unwrap();
            }
            events.extend(commit.events);
        }
        events
    }

    fn check(events: &[Event]) -> Result<(), BrokenChain> {
        let mut head = ChainHead::default();
        events.iter().try_for_each(|event| verify(&mut head, event))
    }

    #[test]
    fn what_is_hashed_is_the_canonical_encoding_without_the_hash() {
        for event in history(3) {
            let mut value = serde_json::to_value(&event).unwrap();
            value.as_object_mut().unwrap().remove("hash");
            assert_eq!(event.hash, Digest::of(&value));
        }
    }

    #[test]
    fn a_history_survives_the_wire() {
        let events = history(3);
        let text = serde_json::to_string(&events).unwrap();
        check(&serde_json::from_str::<Vec<Event>>(&text).unwrap()).unwrap();
    }

    proptest! {
        #[test]
        fn every_change_is_noticed(place in 0_usize..10, change in 0_usize..5) {
            let mut events = history(5);
            match change {
                0 => { events.remove(place.min(events.len() - 2)); }
                1 => events.swap(place.min(8), place.min(8) + 1),
                2 => events[place].actor.actor_id.push('x'),
                3 => events[place].data = Value::Null,
                _ => { let again = events[place].clone(); events.insert(place, again); }
            }
            prop_assert!(check(&events).is_err());
        }
    }
}
