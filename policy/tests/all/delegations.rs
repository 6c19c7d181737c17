//! Delegation: never more than the parent has.

use gatewright_policy::{DelegationRefused, DelegationRequest, Snapshot, delegate};
use gatewright_schemas::{CapabilityToken, DataAccess, Scopes};

use crate::world::{
    acme, agent, all_scopes, at, child, now, principal_id, quarantined, snapshot, token, token_id,
};

fn request(parent: &str, scopes: Scopes) -> DelegationRequest {
    DelegationRequest {
        workspace_id: acme(),
        parent_token_id: token_id(parent),
        token_id: token_id("new"),
        granted_by: principal_id("p1"),
        issued_to: principal_id("p2"),
        scopes,
        valid_until: None,
    }
}

fn with(tokens: &[CapabilityToken]) -> Snapshot {
    let mut snapshot = snapshot("");
    for token in tokens {
        snapshot.upsert_token(token.clone());
    }
    snapshot
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_childs_scopes_are_the_intersection_on_every_axis() {
    let held = Scopes {
        tools: texts(&["a", "b"]),
        rooms: texts(&["*"]),
        action_types: vec![],
        egress_domains: texts(&["*.example.com", "api.org"]),
        data_access: DataAccess {
            read: texts(&["crm"]),
            write: texts(&["*"]),
        },
    };
    let wanted = Scopes {
        tools: texts(&["b", "c"]),
        rooms: texts(&["lobby"]),
        action_types: texts(&["*"]),
        egress_domains: texts(&["a.Example.com", "*.org", "*.b.example.com", "evil.net"]),
        data_access: DataAccess {
            read: texts(&["*"]),
            write: texts(&["*"]),
        },
    };
    let new = delegate(
        &request("root", wanted),
        &with(&[token("root", "p1", held)]),
        now(),
    )
    .unwrap();
    assert_eq!(
        new.scopes,
        Scopes {
            tools: texts(&["b"]),
            rooms: texts(&["lobby"]),
            action_types: vec![],
            egress_domains: texts(&["*.b.example.com", "a.example.com", "api.org"]),
            data_access: DataAccess {
                read: texts(&["crm"]),
                write: texts(&["*"])
            },
        }
    );
    assert_eq!(new.issued_to_principal_id, principal_id("p2"));
    assert_eq!(new.granted_by_principal_id, principal_id("p1"));
    assert_eq!(new.parent_token_id, Some(token_id("root")));
    assert_eq!((new.granted_at, new.revoked_at), (now(), None));
}

#[test]
fn a_child_does_not_outlive_its_parent() {
    let until = at("2026-03-05T00:00:00Z");
    let parent = CapabilityToken {
        valid_until: Some(until),
        ..token("root", "p1", all_scopes())
    };
    let world = with(&[parent]);
    for (asked, granted) in [
        (None, until),
        (Some(at("2026-04-01T00:00:00Z")), until),
        (Some(at("2026-03-04T13:00:00Z")), at("2026-03-04T13:00:00Z")),
    ] {
        let asked = DelegationRequest {
            valid_until: asked,
            ..request("root", all_scopes())
        };
        assert_eq!(
            delegate(&asked, &world, now()).unwrap().valid_until,
            Some(granted)
        );
    }
    let late = DelegationRequest {
        valid_until: Some(now()),
        ..request("root", all_scopes())
    };
    assert_eq!(
        delegate(&late, &world, now()),
        Err(DelegationRefused::BornExpired(now()))
    );
}

#[test]
fn only_the_parents_holder_may_delegate() {
    let world = with(&[token("root", "p9", all_scopes())]);
    assert_eq!(
        delegate(&request("root", all_scopes()), &world, now()),
        Err(DelegationRefused::NotTheHolder {
            token: token_id("root"),
            by: principal_id("p1")
        })
    );
    // Not even who granted it.
    let by_granter = DelegationRequest {
        granted_by: principal_id("root"),
        ..request("root", all_scopes())
    };
    assert!(matches!(
        delegate(&by_granter, &world, now()),
        Err(DelegationRefused::NotTheHolder { .. })
    ));
}

#[test]
fn a_quarantined_holder_delegates_nothing() {
    let mut world = with(&[token("root", "p1", all_scopes())]);
    world.upsert_principal(quarantined(agent("p1", "bot")));
    assert_eq!(
        delegate(&request("root", all_scopes()), &world, now()),
        Err(DelegationRefused::Quarantined(principal_id("p1")))
    );
}

#[test]
fn a_line_of_descent_has_at_most_three_delegations() {
    let world = with(&[
        token("t0", "p1", all_scopes()),
        child("t1", "t0", "p1", all_scopes()),
        child("t2", "t1", "p1", all_scopes()),
        child("t3", "t2", "p1", all_scopes()),
    ]);
    assert!(delegate(&request("t2", all_scopes()), &world, now()).is_ok());
    assert_eq!(
        delegate(&request("t3", all_scopes()), &world, now()),
        Err(DelegationRefused::TooDeep)
    );
}

#[test]
fn a_dead_line_delegates_nothing() {
    let mut dead = token("t0", "p1", all_scopes());
    let live = child("t1", "t0", "p1", all_scopes());
    dead.revoked_at = Some(at("2026-03-04T11:00:00Z"));
    let world = with(&[dead.clone(), live.clone()]);
    assert_eq!(
        delegate(&request("t1", all_scopes()), &world, now()),
        Err(DelegationRefused::Revoked(token_id("t0")))
    );
    dead.revoked_at = None;
    dead.valid_until = Some(now());
    let world = with(&[dead, live.clone()]);
    assert_eq!(
        delegate(&request("t1", all_scopes()), &world, now()),
        Err(DelegationRefused::Expired(token_id("t0")))
    );
    let world = with(&[live]);
    assert_eq!(
        delegate(&request("t1", all_scopes()), &world, now()),
        Err(DelegationRefused::ParentNotFound(token_id("t0")))
    );
}

#[test]
fn an_id_that_is_taken_is_refused() {
    let world = with(&[
        token("root", "p1", all_scopes()),
        token("new", "p5", all_scopes()),
    ]);
    assert_eq!(
        delegate(&request("root", all_scopes()), &world, now()),
        Err(DelegationRefused::IdTaken(token_id("new")))
    );
}

#[test]
fn a_pattern_that_cannot_be_read_is_refused() {
    let world = with(&[token("root", "p1", all_scopes())]);
    let scopes = Scopes {
        egress_domains: texts(&["https://example.com"]),
        ..all_scopes()
    };
    assert!(matches!(
        delegate(&request("root", scopes), &world, now()),
        Err(DelegationRefused::Pattern(_))
    ));
}
