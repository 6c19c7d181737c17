//! `runtime.policy`: on whose authority a run acts, read defensively.
//!
//! A field that is absent, null or blank takes its default.
//! Anything else that is not what it should be makes the whole context invalid, and the gate denies the call with
//! `policy_context_invalid`: a field that cannot be read never becomes "no constraint".

use gatewright_schemas::{
    Actor, ActorType, CapabilityTokenId, OnApproval, PrincipalId, Violation, Zone,
};
use serde::Serialize;
use serde_json::{Map, Value};

pub use gatewright_schemas::gate_facts::DEFAULT_ACTOR_ID;

/// The longest `actor_id`, in characters.
const MAX_ACTOR_ID: usize = 200;
/// At most this many violations are told of one context.
const MAX_VIOLATIONS: usize = 50;

/// On whose authority, in which zone a run acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyContext {
    /// On whose authority.
    pub principal_id: Option<PrincipalId>,
    /// The capability token that is named.
    pub capability_token_id: Option<CapabilityTokenId>,
    /// The zone.
    pub zone: Zone,
    /// Who acts.
    pub actor: Actor,
    /// What the run does when a call needs approval.
    pub on_approval: OnApproval,
}

impl Default for PolicyContext {
    /// No principal, no token, zone `sandbox`, the fleet's own service acts, approvals are waited for.
    fn default() -> Self {
        Self {
            principal_id: None,
            capability_token_id: None,
            zone: Zone::default(),
            actor: Actor {
                actor_id: DEFAULT_ACTOR_ID.to_owned(),
                actor_type: ActorType::default(),
            },
            on_approval: OnApproval::default(),
        }
    }
}

/// Why a context cannot be read: every violation, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", in_a_sentence(.violations))]
pub struct InvalidContext {
    /// What is wrong; the pointers begin at `runtime.policy`.
    pub violations: Vec<Violation>,
}

impl PolicyContext {
    /// Reads `runtime.policy`.
    ///
    /// Fields: `principal_id`, `capability_token_id`, `zone`, `actor_type`, `actor_id`, `on_approval`.
    ///
    /// Naming a principal without an `actor_type` leaves the default actor, `{service, "gatewright"}`: the fleet acts for
    /// that principal, whose quarantine, token and scopes bind the call all the same.
    /// An `actor_id` without an `actor_type` is refused, since an id of an unknown kind could be an agent that spares
    /// itself the check of its principal.
    /// An `actor_type` without an `actor_id` takes the default id, so an agent that leaves its own out is not its principal's agent.
    pub fn parse(value: &Value) -> Result<Self, InvalidContext> {
        let empty = Map::new();
        let fields = match value {
            Value::Null => &empty,
            Value::Object(fields) => fields,
            other => {
                let message = format!("must be an object, not {}", kind_of(other));
                return Err(InvalidContext {
                    violations: vec![Violation::new("", message)],
                });
            }
        };
        let mut reader = Reader {
            fields,
            violations: Vec::new(),
        };
        let principal_id = reader.word("principal_id");
        let capability_token_id = reader.word("capability_token_id");
        let zone = reader.word("zone");
        let actor_type = reader.word("actor_type");
        let on_approval = reader.word("on_approval");
        let actor_id = reader.actor_id();
        if actor_type.is_none() && actor_id.is_some() {
            reader.refuse(
                "actor_id",
                "needs an `actor_type` beside it: service, user or agent",
            );
        }
        reader.refuse_unknown();
        if !reader.violations.is_empty() {
            reader.violations.truncate(MAX_VIOLATIONS);
            return Err(InvalidContext {
                violations: reader.violations,
            });
        }
        Ok(Self {
            principal_id,
            capability_token_id,
            zone: zone.unwrap_or_default(),
            actor: Actor {
                actor_id: actor_id.unwrap_or_else(|| DEFAULT_ACTOR_ID.to_owned()),
                actor_type: actor_type.unwrap_or_default(),
            },
            on_approval: on_approval.unwrap_or_default(),
        })
    }
}

const FIELDS: [&str; 6] = [
    "principal_id",
    "capability_token_id",
    "zone",
    "actor_type",
    "actor_id",
    "on_approval",
];

struct Reader<'a> {
    fields: &'a Map<String, Value>,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    /// The text of a field; `None` when it is absent, null, blank or (then told) no text.
    fn text(&mut self, name: &str) -> Option<String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => {
                let message = format!("must be a string, not {}", kind_of(other));
                self.refuse(name, message);
                None
            }
        }
    }

    /// A field whose text is an identifier or one word of a set.
    fn word<T>(&mut self, name: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        match self.text(name)?.parse() {
            Ok(word) => Some(word),
            Err(error) => {
                self.refuse(name, error.to_string());
                None
            }
        }
    }

    fn actor_id(&mut self) -> Option<String> {
        let text = self.text("actor_id")?;
        if text.chars().count() > MAX_ACTOR_ID {
            self.refuse(
                "actor_id",
                format!("is longer than {MAX_ACTOR_ID} characters"),
            );
        }
        if text.chars().any(char::is_control) {
            self.refuse("actor_id", "must not hold control characters");
        }
        Some(text)
    }

    fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.violations
            .push(Violation::new(format!("/{name}"), message));
    }

    fn refuse_unknown(&mut self) {
        for name in self
            .fields
            .keys()
            .filter(|name| !FIELDS.contains(&name.as_str()))
        {
            let token: String = name.chars().take(80).flat_map(char::escape_debug).collect();
            let pointer = format!("/{}", token.replace('~', "~0").replace('/', "~1"));
            let message = format!(
                "is no field of a policy context; known are {}",
                FIELDS.join(", ")
            );
            self.violations.push(Violation::new(pointer, message));
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The first few of them, since the sentence stands in every record of the decision.
fn in_a_sentence(violations: &[Violation]) -> String {
    const TOLD: usize = 5;
    let mut told: Vec<String> = violations
        .iter()
        .take(TOLD)
        .map(|violation| {
            format!("{} {}", violation.pointer, violation.message)
                .trim()
                .to_owned()
        })
        .collect();
    if violations.len() > TOLD {
        told.push(format!("and {} more", violations.len() - TOLD));
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(value: &Value) -> Vec<String> {
        let error = PolicyContext::parse(value).unwrap_err();
        error.violations.into_iter().map(|v| v.pointer).collect()
    }

    #[test]
    fn what_is_absent_null_or_blank_takes_its_default() {
        let blank = json!({
            "principal_id": " ", "capability_token_id": null, "zone": "", "actor_type": "\t", "actor_id": "", "on_approval": ""
        });
        for value in [json!(null), json!({}), blank] {
            assert_eq!(
                PolicyContext::parse(&value),
                Ok(PolicyContext::default()),
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_stated_is_kept() {
        let context = PolicyContext::parse(&json!({
            "principal_id": "p1", "capability_token_id": "t1", "zone": "high_stakes",
            "actor_type": "agent", "actor_id": "agent-7", "on_approval": "fail"
        }))
        .unwrap();
        assert_eq!(context.principal_id.unwrap().as_str(), "p1");
        assert_eq!(context.capability_token_id.unwrap().as_str(), "t1");
        assert_eq!(context.zone, Zone::HighStakes);
        assert_eq!(
            context.actor,
            Actor {
                actor_id: "agent-7".into(),
                actor_type: ActorType::Agent
            }
        );
        assert_eq!(context.on_approval, OnApproval::Fail);
    }

    #[test]
    fn a_wrong_type_never_becomes_no_constraint() {
        for value in [json!(3), json!([]), json!("sandbox"), json!(true)] {
            assert_eq!(refused(&value), [""], "{value}");
        }
        assert_eq!(
            refused(
                &json!({ "principal_id": 7, "capability_token_id": ["t"], "zone": "moon", "actor_type": {}, "on_approval": false })
            ),
            [
                "/principal_id",
                "/capability_token_id",
                "/zone",
                "/actor_type",
                "/on_approval"
            ]
        );
        assert_eq!(
            refused(&json!({ "capability_token_id": "a.b" })),
            ["/capability_token_id"]
        );
        assert_eq!(refused(&json!({ "zone": "Sandbox" })), ["/zone"]);
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert_eq!(refused(&json!({ "principal": "p1" })), ["/principal"]);
        assert_eq!(refused(&json!({ "a/b~c": 1 })), ["/a~1b~0c"]);
    }

    #[test]
    fn an_actor_id_of_unknown_kind_is_refused() {
        assert_eq!(
            refused(&json!({ "principal_id": "p1", "actor_id": "agent-7" })),
            ["/actor_id"]
        );
    }

    #[test]
    fn an_actor_id_holds_no_control_characters() {
        assert_eq!(
            refused(&json!({ "actor_type": "user", "actor_id": "a\u{1b}[2J" })),
            ["/actor_id"]
        );
    }

    #[test]
    fn a_thousand_faults_are_told_in_fifty() {
        let many: Map<String, Value> = (0..1000).map(|n| (format!("f{n}"), json!(1))).collect();
        assert_eq!(refused(&Value::Object(many)).len(), 50);
    }
}
