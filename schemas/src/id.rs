//! Identifiers, one type for each thing that has one.
//!
//! Two shapes exist.
//! A *token* (`[A-Za-z0-9_-]{1,64}`) may become one token of a NATS subject or a KV key.
//! A *name* is a path of tokens joined by `.`, at most 200 bytes: what is derived from tokens (`acme.nightly-1.2.1`).
//! Nothing else can be built, so untrusted text never reaches a subject.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest token, in bytes.
pub const MAX_TOKEN: usize = 64;
/// The longest name, in bytes.
pub const MAX_NAME: usize = 200;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: it must match {pattern}")]
pub struct InvalidId {
    /// What it was meant to be, for example `run_id`.
    pub kind: &'static str,
    /// The refused text, cut to 80 characters and with control characters escaped.
    pub text: String,
    /// The pattern that it misses.
    pub pattern: &'static str,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str, pattern: &'static str) -> Self {
        let text = text.chars().take(80).flat_map(char::escape_debug).collect();
        Self {
            kind,
            text,
            pattern,
        }
    }
}

fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME && text.split('.').all(is_token)
}

const TOKEN_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";
const NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}(\\.[A-Za-z0-9_-]{1,64})*$";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $pattern:ident, $max:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it as an identifier.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidId> {
                let text = text.as_ref();
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId::new($kind, text, $pattern))
                }
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(d)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": $max })
            }
        }
    };
}

id!(
    /// A tenant. Names that begin with `_` are the fleet's own (see [`WorkspaceId::fleet`]).
    WorkspaceId, "workspace_id", is_token, TOKEN_PATTERN, MAX_TOKEN
);
id!(
    /// A run, unique within its workspace. It doubles as the submission's idempotency key.
    RunId, "run_id", is_token, TOKEN_PATTERN, MAX_TOKEN
);
id!(
    /// The name of the credential that writes: a worker, a dispatcher. It is a token of every event's subject.
    WriterId, "writer", is_token, TOKEN_PATTERN, MAX_TOKEN
);
id!(
    /// A step: `<workspace>.<run>.<step number from 1>`, so it is unique in the fleet.
    StepId, "step_id", is_name, NAME_PATTERN, MAX_NAME
);
id!(
    /// A tool call: `<workspace>.<run>.<step>.<call>`. Unique in the fleet, hence usable as an idempotency key at any upstream.
    ToolCallId, "tool_call_id", is_name, NAME_PATTERN, MAX_NAME
);
id!(
    /// A commit; also its message id on the stream.
    CommitId, "commit_id", is_token, TOKEN_PATTERN, MAX_TOKEN
);
id!(
    /// An event: `<commit>.<place in the commit from 1>`.
    EventId, "event_id", is_name, NAME_PATTERN, MAX_NAME
);
id!(
    /// On whose authority calls are made.
    PrincipalId, "principal_id", is_token, TOKEN_PATTERN, MAX_TOKEN
);
id!(
    /// A capability token.
    CapabilityTokenId, "capability_token_id", is_token, TOKEN_PATTERN, MAX_TOKEN
);
id!(
    /// An approval: the id of the tool call that asked, followed by the number of the request.
    ApprovalId, "approval_id", is_name, NAME_PATTERN, MAX_NAME
);

id!(
    /// An approval that holds for more calls than the one that asked for it.
    RememberedApprovalId, "remembered_approval_id", is_token, TOKEN_PATTERN, MAX_TOKEN
);

impl WorkspaceId {
    /// The workspace of events that concern the whole fleet, such as the activation of a policy.
    pub fn fleet() -> Self {
        Self("_fleet".into())
    }

    /// Whether the name is one of the fleet's own, which no submission may use.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl RunId {
    /// The run of a question about calls that nobody makes.
    pub fn hypothetical() -> Self {
        Self("hypothetical".into())
    }

    /// The pseudo run under which events stand that belong to no run.
    pub fn authority() -> Self {
        Self("_authority".into())
    }

    /// Whether the name is one of the fleet's own, which no submission may use.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl StepId {
    /// The id of step number `step` (from 1).
    pub fn of(workspace: &WorkspaceId, run: &RunId, step: usize) -> Self {
        Self(format!("{workspace}.{run}.{step}").into())
    }
}

impl ToolCallId {
    /// The id of call number `call` (from 1) of step number `step` (from 1).
    pub fn of(workspace: &WorkspaceId, run: &RunId, step: usize, call: usize) -> Self {
        Self(format!("{workspace}.{run}.{step}.{call}").into())
    }
}

impl ApprovalId {
    /// The id of the `request`-th (from 1) approval that a call asks for.
    pub fn of(call: &ToolCallId, request: usize) -> Self {
        Self(format!("{call}.a{request}").into())
    }

    /// Its last token: which of its run's approvals it is.
    pub fn request(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or_default()
    }
}

impl RememberedApprovalId {
    /// The id under which an approval is remembered.
    pub fn of(approval: &ApprovalId) -> Self {
        let digest = crate::Digest::of(&serde_json::Value::from(approval.as_str())).to_string();
        let short: String = digest.chars().take(24).collect();
        Self(format!("rem-{short}").into())
    }
}

impl EventId {
    /// The id of the event at `place` (from 1) in a commit.
    pub fn of(commit: &CommitId, place: usize) -> Self {
        Self(format!("{commit}.{place}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_could_steer_a_subject_are_refused() {
        for bad in [
            "",
            "a.b",
            "a b",
            "*",
            ">",
            "a\n",
            "ü",
            "a/b",
            "$JS",
            &"x".repeat(65),
        ] {
            assert!(RunId::new(bad).is_err(), "{bad:?}");
        }
        assert!(RunId::new("Nightly_report-2026").is_ok());
    }

    #[test]
    fn a_refusal_shows_the_text_escaped_and_short() {
        let error = RunId::new("\u{1b}[31m\u{202e}".repeat(99)).unwrap_err();
        assert!(error.text.is_ascii(), "{}", error.text);
        assert!(error.to_string().len() < 1200);
    }

    #[test]
    fn derived_ids_are_names() {
        let call = ToolCallId::of(&WorkspaceId::fleet(), &RunId::authority(), 1, 2);
        assert_eq!(call.as_str(), "_fleet._authority.1.2");
        assert_eq!(ToolCallId::new(call.as_str()).unwrap(), call);
    }
}
