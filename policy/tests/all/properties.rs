//! What holds of every call in every world. `PROPTEST_CASES=20000` asks in more of them.

use gatewright_policy::{
    DelegationRequest, Grant, GrantState, Host, PolicyContext, PolicyDocument, QuotaAnswer,
    authorize_tool_call, delegate, explain_tool_call,
    host::{DomainPattern, Target, hosts_in},
};
use gatewright_schemas::{Decision, EnforcementMode, ReasonCode};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{
    model,
    scenes::{self, Scene, scenes, scopes, stricter},
    world::{
        acme, all_scopes, ask, ask_egress, child, now, principal_id, request_of, token_id,
        with_input,
    },
};

fn decision(scene: &Scene) -> Decision {
    let call = scene.call();
    ask(&call, &scene.snapshot(), scene.grant(&call).as_ref())
        .record()
        .decision
}

fn json() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        any::<String>(),
        Just("https://example.com/".to_owned()),
        Just("//example.com".to_owned()),
        Just("zone".to_owned()),
        "[a-z]{1,6}:[/\\\\]{0,3}[^\u{0}]{0,20}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        words.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((words.clone(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Objects with a context's own fields and anything in them.
fn contexts() -> impl Strategy<Value = Value> {
    let fields = [
        "principal_id",
        "capability_token_id",
        "zone",
        "actor_type",
        "actor_id",
        "on_approval",
        "x",
    ];
    prop::collection::vec((proptest::sample::select(fields.to_vec()), json()), 0..7).prop_map(
        |list| {
            Value::Object(
                list.into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            )
        },
    )
}

proptest! {
    #[test]
    fn the_gate_equals_the_naive_model(scene in scenes()) {
        prop_assert!(scenes::enforces(&scene));
        let call = scene.call();
        let answer = ask(&call, &scene.snapshot(), scene.grant(&call).as_ref());
        let record = answer.record();
        prop_assert_eq!((record.decision, record.reason_code), model::answer(&scene), "{:#?}", record);
    }

    #[test]
    fn blocked_is_enforce_and_not_allow_and_nothing_else(mut scene in scenes(), shadow in any::<bool>(), by_tool in any::<bool>()) {
        let mode = if shadow { EnforcementMode::Shadow } else { EnforcementMode::Enforce };
        if by_tool {
            scene.document.tool_modes.insert(scene.tool.parse().unwrap(), mode);
        } else {
            scene.document.mode = mode;
        }
        let call = scene.call();
        let (record, permit) = ask(&call, &scene.snapshot(), scene.grant(&call).as_ref()).into_parts();
        prop_assert_eq!(record.enforcement_mode, mode);
        prop_assert_eq!(record.blocked, mode == EnforcementMode::Enforce && record.decision != Decision::Allow);
        prop_assert_eq!(permit.is_some(), !record.blocked);
        if let Some(permit) = permit {
            prop_assert!(permit.covers(&call.tool_call_id, &call.tool.definition_digest, &call.input_digest));
        }
    }

    #[test]
    fn no_policy_denies(scene in scenes()) {
        let call = scene.call();
        let mut snapshot = scene.snapshot();
        snapshot.set_policy(None);
        let (record, permit) = ask(&call, &snapshot, scene.grant(&call).as_ref()).into_parts();
        prop_assert_eq!(record.decision, Decision::Deny);
        prop_assert!(record.blocked && permit.is_none());
    }

    #[test]
    fn a_request_to_the_outside_is_no_freer_than_its_call(scene in scenes(), write in any::<bool>(), host in 0_usize..3) {
        let call = scene.call();
        let snapshot = scene.snapshot();
        let url = ["https://example.com", "https://evil.org", "http://0xa.1"][host];
        let method = if write { "POST" } else { "GET" };
        let request = request_of(&call, method, url, "internal.read");
        let answer = ask_egress(&request, &snapshot, None);
        let codes: Vec<ReasonCode> = answer.record().findings.iter().map(|f| f.reason_code).collect();
        // What the call's principal, token and zone deny is denied to its requests too.
        for finding in &ask(&call, &snapshot, None).record().findings {
            if ["agent", "quarantine", "capability_token"].contains(&finding.check.as_str()) {
                prop_assert!(codes.contains(&finding.reason_code));
            }
        }
        if write && scene.document.domains.allow_writes.is_empty() {
            prop_assert!(answer.is_blocked());
        }
        let (record, permit) = answer.into_parts();
        prop_assert_eq!(permit.is_some(), record.decision == Decision::Allow);
        let mut nothing = snapshot.clone();
        nothing.set_policy(None);
        prop_assert!(ask_egress(&request, &nothing, None).is_blocked());
    }

    #[test]
    fn explain_tells_what_was_decided(scene in scenes()) {
        let call = scene.call();
        let (snapshot, grant) = (scene.snapshot(), scene.grant(&call));
        let explained = explain_tool_call(&call, &snapshot, grant.as_ref(), &QuotaAnswer::NotNeeded, now());
        let answer = ask(&call, &snapshot, grant.as_ref());
        prop_assert_eq!(&explained.decision, answer.record());
        let told: Vec<_> = explained.checks.iter().filter_map(|check| check.finding.clone()).collect();
        prop_assert_eq!(&told, &answer.record().findings);
    }

    #[test]
    fn an_approval_settles_no_denial(scene in scenes()) {
        let mut without = scene.clone();
        without.grant = None;
        let mut with = scene;
        with.grant = Some(ReasonCode::ALL.to_vec());
        let call = with.call();
        let principal = ask(&call, &with.snapshot(), None).principal_id().cloned();
        let grant = Grant { principal_id: principal, ..with.grant(&call).unwrap() };
        let after = ask(&call, &with.snapshot(), Some(&grant)).record().decision;
        if decision(&without) == Decision::Deny { prop_assert_eq!(after, Decision::Deny) } else { prop_assert_eq!(after, Decision::Allow) }
    }

    #[test]
    fn a_grant_that_is_not_good_never_allows(scene in scenes(), state in 0_usize..5) {
        let call = scene.call();
        let states = [GrantState::Unknown, GrantState::Pending, GrantState::Denied, GrantState::Expired, GrantState::Used];
        let codes = scenes::APPROVABLE;
        let grant = Grant { state: states[state], ..crate::world::grant(&call, &codes) };
        prop_assert!(ask(&call, &scene.snapshot(), Some(&grant)).is_blocked());
    }

    #[test]
    fn a_limit_that_is_not_granted_never_allows(mut scene in scenes(), unavailable in any::<bool>()) {
        scene.document.limits.each_tool_daily = Some(1);
        let call = scene.call();
        let answer = if unavailable { QuotaAnswer::Unavailable } else { QuotaAnswer::NotNeeded };
        let grant = scene.grant(&call);
        prop_assert!(authorize_tool_call(&call, &scene.snapshot(), grant.as_ref(), &answer, now()).is_blocked());
    }

    #[test]
    fn arbitrary_contexts_and_inputs_never_panic_and_never_lift_a_denial(scene in scenes(), context in prop_oneof![contexts(), json()], input in json()) {
        let mut call = with_input(scene.call(), &input);
        call.context = PolicyContext::parse(&context);
        let unreadable = call.context.is_err() || call.hosts.is_err();
        let answer = ask(&call, &scene.snapshot(), None);
        if unreadable {
            prop_assert_eq!(answer.record().decision, Decision::Deny);
        }
    }

    #[test]
    fn arbitrary_hosts_have_one_spelling(text in prop_oneof![any::<String>(), "[0-9a-fA-FxX.]{1,20}", "(\\[)?[0-9a-f:.]{1,20}(\\])?", "[a-zA-Zäß。.-]{1,30}"]) {
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(Host::parse(host.as_str()).unwrap(), host.clone());
            prop_assert!(!host.as_str().ends_with('.') && host.as_str().is_ascii());
            if !host.as_str().contains('*') {
                let exact: DomainPattern = host.as_str().parse().unwrap();
                prop_assert!(exact.matches(&host));
            }
            let target = Target::parse(&format!("https://{host}/")).unwrap();
            prop_assert_eq!(target.host(), &host);
        }
    }

    #[test]
    fn what_a_client_would_request_is_found_in_the_input(text in prop_oneof![any::<String>(), "[ \t]{0,2}[hH][tT]{2}[pP][sS]?:[/\\\\]{0,3}[a-z0-9@:.%\\[\\]]{0,20}"]) {
        if let Ok(target) = Target::parse(&text) {
            let hosts = hosts_in(&json!({ "a": [text] }));
            prop_assert!(hosts.map_or(true, |hosts| hosts.contains(target.host())));
        }
    }

    /// Whatever stands around it: the name alone is followed by what ends it for everybody.
    #[test]
    fn a_foreign_host_is_never_taken_for_an_allowed_one(
        before in any::<String>(),
        user in "([a-z.%:,;\\\\?#@]{0,12}@)?",
        name in "[eE]vil[.。．｡][tT](e|%65)[sS]t[.]?",
        after in "([/?#\n ].*|:[0-9]{1,5})?",
    ) {
        let good: DomainPattern = "good.test".parse().unwrap();
        let input = json!([{ "k": format!("{before}://{user}{name}{after}") }]);
        let is_foreign = hosts_in(&input).map_or(true, |hosts| hosts.iter().any(|host| !good.matches(host)));
        prop_assert!(is_foreign, "{input}");
    }

    #[test]
    fn arbitrary_documents_never_panic(text in prop_oneof![any::<String>(), "[a-z_]{1,10} = [\\[{\"a-z0-9\\]}]{0,20}\n"]) {
        match PolicyDocument::parse(&text) {
            Ok(document) => _ = document.warnings(),
            Err(faults) => prop_assert!(!faults.0.is_empty()),
        }
    }
}

proptest! {
    #[test]
    fn adding_a_denial_never_allows_more(scene in scenes()) {
        let before = decision(&scene);
        for (what, stricter) in stricter(&scene) {
            let after = decision(&stricter);
            prop_assert!(after >= before, "{what}: {before} became {after}");
        }
    }

    #[test]
    fn a_child_allows_nothing_that_its_parent_does_not(scene in scenes(), held in scopes(), wanted in scopes()) {
        let mut snapshot = scene.snapshot();
        let mut parent = crate::world::token("parent", "p1", held);
        parent.valid_until = None;
        snapshot.upsert_token(parent.clone());
        let request = DelegationRequest {
            workspace_id: acme(),
            parent_token_id: token_id("parent"),
            token_id: token_id("child"),
            granted_by: principal_id("p1"),
            issued_to: principal_id("p1"),
            scopes: wanted,
            valid_until: None,
        };
        let Ok(mut delegated) = delegate(&request, &snapshot, now()) else { return Ok(()) };
        // Without its parent to vouch for it: what the intersection alone allows.
        delegated.parent_token_id = None;
        snapshot.upsert_token(delegated);
        snapshot.upsert_token(child("wanted", "parent", "p1", request.scopes.clone()));
        let with = |id: &str| {
            let mut call = scene.call();
            let mut context = scene.context.clone();
            context["capability_token_id"] = json!(id);
            context["principal_id"] = json!("p1");
            call.context = PolicyContext::parse(&context);
            ask(&call, &snapshot, None).record().decision
        };
        prop_assert!(with("child") >= with("parent"));
        prop_assert_eq!(with("child"), with("wanted"), "the intersection is what parent and child allow together");
    }
}

#[test]
fn the_models_worlds_are_worth_asking_in() {
    // Every answer occurs often enough that the comparison means something.
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let scene = scenes().new_tree(&mut runner).unwrap().current();
        *seen.entry(model::answer(&scene).0).or_insert(0) += 1;
    }
    for wanted in Decision::ALL {
        assert!(
            seen.get(wanted).is_some_and(|count| *count >= 40),
            "{wanted}: {seen:?}"
        );
    }
    assert_eq!(all_scopes().tools, ["*"]);
}
