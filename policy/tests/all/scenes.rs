//! Worlds, and calls in them, to compare the gate with its model in.

use std::sync::Arc;

use gatewright_policy::{
    CompiledPolicy, Grant, PolicyDocument, Snapshot, ToolCallRequest, document::ActionRule,
};
use gatewright_schemas::{
    CapabilityToken, DataAccess, Decision, Effect, EnforcementMode, Principal, ReasonCode, Scopes,
    Zone,
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use crate::world::{self, acme, agent, quarantined, token, token_id};

/// A world and a call in it.
#[derive(Debug, Clone)]
pub struct Scene {
    pub document: PolicyDocument,
    pub tokens: Vec<CapabilityToken>,
    pub principals: Vec<Principal>,
    pub context: Value,
    pub room: Option<String>,
    pub tool: String,
    pub effect: Effect,
    pub action: Option<String>,
    pub data: DataAccess,
    pub sandbox: Option<String>,
    pub hosts: Vec<String>,
    pub grant: Option<Vec<ReasonCode>>,
}

impl Scene {
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new();
        let digest = self.document.digest();
        snapshot.set_policy(Some(Arc::new(CompiledPolicy::new(
            self.document.clone(),
            1,
            digest,
        ))));
        snapshot.set_synced_at(world::now());
        for token in &self.tokens {
            snapshot.upsert_token(token.clone());
        }
        for principal in &self.principals {
            snapshot.upsert_principal(principal.clone());
        }
        snapshot
    }

    pub fn call(&self) -> ToolCallRequest {
        let urls: Vec<String> = self
            .hosts
            .iter()
            .map(|host| format!("https://{host}/"))
            .collect();
        let mut call = world::call(&self.tool, &self.context);
        call.room_id.clone_from(&self.room);
        call.tool.effect = self.effect;
        call.tool.action_type.clone_from(&self.action);
        call.tool.data = self.data.clone();
        call.sandbox_permissions.clone_from(&self.sandbox);
        world::with_input(call, &json!({ "urls": urls }))
    }

    pub fn grant(&self, call: &ToolCallRequest) -> Option<Grant> {
        self.grant.as_ref().map(|codes| world::grant(call, codes))
    }
}

const TOOLS: [&str; 3] = ["read", "write", "rm"];
const ACTIONS: [&str; 4] = ["internal.read", "ticket.write", "external.write", "other"];
const HOSTS: [&str; 5] = [
    "example.com",
    "a.example.com",
    "notexample.com",
    "evil.org",
    "10.0.0.1",
];
const PATTERNS: [&str; 6] = [
    "*",
    "*.example.com",
    "example.com",
    "a.example.com",
    "evil.org",
    "10.0.0.1",
];
const LABELS: [&str; 2] = ["crm", "payroll"];

/// What approvals are asked for.
pub const APPROVABLE: [ReasonCode; 8] = [
    ReasonCode::ActionZoneRequiresHighStakes,
    ReasonCode::ActionIrreversibleRequiresHighStakes,
    ReasonCode::ActionPreApprovalRequired,
    ReasonCode::SandboxEscalationRequiresApproval,
    ReasonCode::DomainNotAllowlisted,
    ReasonCode::ExternalWriteRequiresApproval,
    ReasonCode::ToolRequiresApproval,
    ReasonCode::DefaultRequiresApproval,
];

fn some<T: Clone + std::fmt::Debug + 'static>(from: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    proptest::sample::subsequence(from, 0..=from.len())
}

fn texts(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    some(from).prop_map(|list| list.into_iter().map(str::to_owned).collect())
}

/// Mostly everything, so that calls get past this axis; else some names, or none.
fn scope(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(vec!["*".to_owned()]), 2 => texts(names)]
}

fn seldom() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.08)
}

pub fn scopes() -> impl Strategy<Value = Scopes> {
    let rooms = prop_oneof![4 => Just(vec!["*".to_owned()]), 2 => Just(vec!["lobby".to_owned()]), 1 => Just(vec![])];
    (
        scope(&TOOLS),
        rooms,
        scope(&ACTIONS),
        texts(&PATTERNS),
        scope(&LABELS),
        scope(&LABELS),
    )
        .prop_map(
            |(tools, rooms, action_types, egress_domains, read, write)| Scopes {
                tools,
                rooms,
                action_types,
                egress_domains,
                data_access: DataAccess { read, write },
            },
        )
}

/// Up to four tokens, each of them a root or a child of one before it.
fn tokens() -> impl Strategy<Value = Vec<CapabilityToken>> {
    let one = (
        scopes(),
        select(vec!["p1", "p1", "p1", "p2"]),
        seldom(),
        seldom(),
        any::<bool>(),
    );
    prop::collection::vec(one, 0..4).prop_map(|list| {
        let mut tokens: Vec<CapabilityToken> = vec![];
        for (place, (scopes, holder, revoked, expired, root)) in list.into_iter().enumerate() {
            let mut token = token(&format!("t{place}"), holder, scopes);
            token.parent_token_id = tokens
                .last()
                .filter(|_| !root)
                .map(|last| last.token_id.clone());
            token.revoked_at = revoked.then(world::now);
            token.valid_until = expired.then(world::now);
            tokens.push(token);
        }
        tokens
    })
}

fn document() -> impl Strategy<Value = PolicyDocument> {
    let lists = (
        texts(&TOOLS),
        texts(&TOOLS),
        select(Decision::ALL),
        texts(&PATTERNS),
        texts(&PATTERNS),
    );
    let rule = (
        select(vec!["internal.read", "ticket.write"]),
        proptest::option::of(select(Zone::ALL)),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(action_type, zone, reversible, pre_approval, external_write)| ActionRule {
                action_type: action_type.into(),
                zone,
                reversible,
                pre_approval,
                external_write,
            },
        );
    let rules = prop::collection::vec(rule, 0..3);
    let kills = (seldom(), seldom(), seldom(), seldom(), seldom());
    let tokens = (some(Zone::ALL), seldom(), any::<bool>());
    (lists, rules, kills, tokens).prop_map(|(lists, mut rules, kills, tokens)| {
        rules.sort_by(|one, other| one.action_type.cmp(&other.action_type));
        rules.dedup_by(|one, other| one.action_type == other.action_type);
        let mut document = PolicyDocument::default();
        let names = |list: Vec<String>| list.iter().map(|name| name.parse().unwrap()).collect();
        document.auto_allow = names(lists.0);
        document.require_approval = names(lists.1.into_iter().take(1).collect());
        document.default = lists.2;
        document.domains.allow = lists.3.iter().map(|text| text.parse().unwrap()).collect();
        document.domains.allow_writes = lists.4.iter().map(|text| text.parse().unwrap()).collect();
        document.actions = rules;
        document.kill_switches.fleet = kills.0;
        document.kill_switches.workspaces = if kills.1 { vec![acme()] } else { vec![] };
        document.kill_switches.tools = if kills.2 {
            names(vec!["read".into()])
        } else {
            vec![]
        };
        document.kill_switches.zones = if kills.3 { vec![Zone::Sandbox] } else { vec![] };
        document.kill_switches.external_writes = kills.4;
        document.tokens.required_in_zones = if tokens.1 { tokens.0 } else { vec![] };
        document.tokens.required_for_tools = if tokens.1 {
            names(vec!["rm".into()])
        } else {
            vec![]
        };
        document.unregistered_actions_need_approval = tokens.2;
        document
    })
}

pub fn scenes() -> impl Strategy<Value = Scene> {
    let who = (
        proptest::option::of(select(vec!["p1", "p1", "p1", "p2", "p9"])),
        proptest::option::weighted(0.7, select(vec!["t0", "t1", "t2", "t3"])),
        select(Zone::ALL),
        proptest::option::weighted(0.3, select(vec!["bot", "bot", "eve"])),
        proptest::option::weighted(0.8, Just("lobby".to_owned())),
        seldom(),
    );
    let what = (
        select(&TOOLS[..]),
        select(Effect::ALL),
        proptest::option::of(select(&ACTIONS[..])),
        texts(&LABELS),
        texts(&LABELS),
        proptest::option::weighted(0.3, select(vec!["use_default", "require_escalated", "all"])),
        prop_oneof![2 => Just(vec![]), 3 => texts(&HOSTS)],
    );
    let grant = proptest::option::weighted(0.4, some(&APPROVABLE));
    (document(), tokens(), who, what, grant).prop_map(|(document, tokens, who, what, grant)| {
        let (principal, token, zone, agent_id, room, bad) = who;
        let (tool, effect, action, read, write, sandbox, hosts) = what;
        let mut context = json!({ "zone": zone });
        if let Some(id) = principal {
            context["principal_id"] = json!(id);
        }
        if let Some(id) = token {
            context["capability_token_id"] = json!(id);
        }
        if let Some(id) = agent_id {
            context["actor_type"] = json!("agent");
            context["actor_id"] = json!(id);
        }
        let first = agent("p1", "bot");
        let first = if bad { quarantined(first) } else { first };
        let mut scene = Scene {
            document,
            tokens,
            principals: vec![first, agent("p2", "eve")],
            context,
            room,
            tool: tool.into(),
            effect,
            action: action.map(str::to_owned),
            data: DataAccess { read, write },
            sandbox: sandbox.map(str::to_owned),
            hosts,
            grant,
        };
        // An approval is bound to the call's principal, so it is asked for on the same authority.
        if principal.is_none() && token.is_some() {
            scene.grant = None;
        }
        scene
    })
}

/// Whether the scene's document obeys its answers, as the model takes for granted.
pub fn enforces(scene: &Scene) -> bool {
    scene.document.mode == EnforcementMode::Enforce
}

/// Everything that makes a scene stricter, one step each.
pub fn stricter(scene: &Scene) -> Vec<(&'static str, Scene)> {
    let mut all = vec![];
    let mut with = |what: &'static str, change: &dyn Fn(&mut Scene)| {
        let mut changed = scene.clone();
        change(&mut changed);
        all.push((what, changed));
    };
    with("fleet", &|s| s.document.kill_switches.fleet = true);
    with("workspace", &|s| {
        s.document.kill_switches.workspaces.push(acme());
    });
    with("tool", &|s| {
        s.document.kill_switches.tools.push(s.tool.parse().unwrap());
    });
    with("zone", &|s| {
        s.document.kill_switches.zones.extend(Zone::ALL);
    });
    with("external writes", &|s| {
        s.document.kill_switches.external_writes = true;
    });
    with("zones demand tokens", &|s| {
        s.document.tokens.required_in_zones = Zone::ALL.to_vec();
    });
    with("tool demands token", &|s| {
        s.document
            .tokens
            .required_for_tools
            .push(s.tool.parse().unwrap());
    });
    with("no domain", &|s| s.document.domains.allow.clear());
    with("one domain less", &|s| _ = s.document.domains.allow.pop());
    with("no writable domain", &|s| {
        s.document.domains.allow_writes.clear();
    });
    // Elsewhere the list that wants approval also lets a call past the default.
    if scene.document.default == Decision::Allow {
        with("approval for the tool", &|s| {
            s.document.require_approval.push(s.tool.parse().unwrap());
        });
    }
    with("no grant", &|s| s.grant = None);
    for n in 0..scene.principals.len() {
        with("quarantine", &|s| {
            s.principals[n] = quarantined(s.principals[n].clone());
        });
    }
    for n in 0..scene.tokens.len() {
        with("revocation", &|s| {
            s.tokens[n].revoked_at = Some(world::now());
        });
        with("expiry", &|s| s.tokens[n].valid_until = Some(world::now()));
        with("no tools", &|s| s.tokens[n].scopes.tools.clear());
        with("one tool less", &|s| _ = s.tokens[n].scopes.tools.pop());
        with("no rooms", &|s| s.tokens[n].scopes.rooms.clear());
        with("one room instead of all", &|s| {
            if s.tokens[n].scopes.rooms == ["*"] {
                s.tokens[n].scopes.rooms = vec!["lobby".into()];
            }
        });
        with("no actions", &|s| s.tokens[n].scopes.action_types.clear());
        with("no domains", &|s| s.tokens[n].scopes.egress_domains.clear());
        with("one token domain less", &|s| {
            _ = s.tokens[n].scopes.egress_domains.pop();
        });
        with("no data", &|s| {
            s.tokens[n].scopes.data_access = DataAccess::default();
        });
        with("another parent", &|s| {
            s.tokens[n].parent_token_id = Some(token_id("t-gone"));
        });
    }
    all
}
