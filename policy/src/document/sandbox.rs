//! What a sandboxed call may get beside its ordinary sandbox, once somebody approved it.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use gatewright_schemas::{Digest, event::SandboxProfileShown};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use super::ToolName;

/// What `require_escalated` may mean.
///
/// Nothing here can say "without a sandbox": a profile adds single paths to the ordinary one, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// The profile that an approved call with `require_escalated` gets. Without one every such call is denied.
    pub escalated: Option<ToolName>,
    /// The profiles by name.
    #[schemars(extend("propertyNames" = { "format": "tool-name" }))]
    pub profiles: BTreeMap<ToolName, SandboxProfile>,
}

/// What a profile adds to the ordinary sandbox. The paths are the worker machine's, and are found there under their own names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxProfile {
    /// Files and folders that can be read.
    #[schemars(length(max = 100))]
    pub readable: Vec<SandboxPath>,
    /// Files and folders that can be read and written. Nobody counts the bytes in them.
    #[schemars(length(max = 100))]
    pub writable: Vec<SandboxPath>,
}

/// The profile that a call is given: a part of what was approved, and of the permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EscalatedProfile {
    /// Its name in the document.
    pub name: String,
    /// What it adds.
    pub profile: SandboxProfile,
    /// The digest of name and content. An approval names it: of a profile that was changed since nobody approved anything.
    pub digest: Digest,
}

impl Sandbox {
    /// Whether it says nothing. A document without it has the digest that it had before there were profiles.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The profile of escalated calls, where one is named and there.
    pub(crate) fn escalated_profile(&self) -> Option<EscalatedProfile> {
        let name = self.escalated.as_ref()?;
        let profile = self.profiles.get(name)?.clone();
        Some(EscalatedProfile {
            name: name.to_string(),
            digest: Digest::of(&json!({ "name": name, "profile": profile })),
            profile,
        })
    }
}

impl EscalatedProfile {
    /// As an approval shows it.
    pub fn shown(&self) -> SandboxProfileShown {
        let texts = |paths: &[SandboxPath]| paths.iter().map(ToString::to_string).collect();
        SandboxProfileShown {
            name: self.name.clone(),
            digest: self.digest.clone(),
            readable: texts(&self.profile.readable),
            writable: texts(&self.profile.writable),
        }
    }
}

/// For whoever approves a call with it.
impl fmt::Display for EscalatedProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |paths: &[SandboxPath]| match paths {
            [] => "nothing".to_owned(),
            paths => paths
                .iter()
                .map(SandboxPath::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        };
        write!(
            f,
            "the profile `{}`, to read {} and to write {}",
            self.name,
            list(&self.profile.readable),
            list(&self.profile.writable)
        )
    }
}

/// A path of the worker's machine that a sandbox may show: absolute, plainly spelt, and none of the system's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxPath(String);

/// Why a path cannot be shown in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSandboxPath {
    /// It could be read in more than one way.
    #[error(
        "is not a plain absolute path: it begins with `/`, does not end with one, and has no empty part, `.`, `..` or control character"
    )]
    NotPlain,
    /// It is, or leads into, what nothing in a sandbox may touch.
    #[error("is the system's or the sandbox's own (`{0}`), which no profile can open up")]
    SystemsOwn(&'static str),
    /// It holds everything of somebody's.
    #[error("is too much at once; name a folder below it")]
    TooMuch,
}

/// Neither these nor anything below them.
const CLOSED: [&str; 18] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/work",
    "/var/run",
];

/// Not these, though something below them.
const TOO_MUCH: [&str; 9] = [
    "/", "/home", "/media", "/mnt", "/opt", "/srv", "/var", "/var/lib", "/var/log",
];

impl SandboxPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the other path is this one or below it.
    pub fn holds(&self, other: &Self) -> bool {
        is_at_or_below(&other.0, &self.0)
    }
}

impl FromStr for SandboxPath {
    type Err = InvalidSandboxPath;

    fn from_str(text: &str) -> Result<Self, InvalidSandboxPath> {
        if TOO_MUCH.contains(&text) {
            return Err(InvalidSandboxPath::TooMuch);
        }
        let is_plain = text
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
        if !is_plain || text.len() > 1024 || text.chars().any(char::is_control) {
            return Err(InvalidSandboxPath::NotPlain);
        }
        match CLOSED.iter().find(|closed| is_at_or_below(text, closed)) {
            Some(closed) => Err(InvalidSandboxPath::SystemsOwn(closed)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for SandboxPath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SandboxPath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for SandboxPath {
    fn schema_name() -> Cow<'static, str> {
        "SandboxPath".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "sandbox-path", "maxLength": 1024 })
    }
}

/// What is wrong with the section beside its single values: a JSON pointer and a message each.
pub(super) fn contradictions(sandbox: &Sandbox) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    if let Some(name) = &sandbox.escalated
        && !sandbox.profiles.contains_key(name)
    {
        let known: Vec<&str> = sandbox.profiles.keys().map(ToolName::as_str).collect();
        let message = format!(
            "there is no profile `{name}`; known are: {}",
            known.join(", ")
        );
        faults.push(("/sandbox/escalated".to_owned(), message));
    }
    for (name, profile) in &sandbox.profiles {
        let lists = [
            ("readable", &profile.readable),
            ("writable", &profile.writable),
        ];
        let all: Vec<(String, &SandboxPath)> = lists
            .into_iter()
            .flat_map(|(list, paths)| {
                let pointer = format!("/sandbox/profiles/{name}/{list}");
                paths
                    .iter()
                    .enumerate()
                    .map(move |(place, path)| (format!("{pointer}/{place}"), path))
            })
            .collect();
        for (pointer, path) in &all {
            // Whoever can write to a folder can make a link of what is below it.
            let holder = all
                .iter()
                .find(|(other, holder)| other != pointer && holder.holds(path));
            if let Some((other, holder)) = holder {
                let message = format!("`{path}` is at or below `{holder}`, in {other}");
                faults.push((pointer.clone(), message));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_opens_the_sandbox_up() {
        for bad in [
            "",
            "srv/out",
            "/",
            "//",
            "/srv/../etc",
            "/srv/./x",
            "/srv//x",
            "/srv/x/",
            "/etc",
            "/etc/gatewright",
            "/proc",
            "/proc/1/root",
            "/sys/fs",
            "/dev/sda",
            "/usr",
            "/root/.ssh",
            "/run/docker.sock",
            "/var/run/docker.sock",
            "/tmp/x",
            "/work",
            "/home",
            "/var",
            "/srv",
            "/srv/\u{0}x",
            "/srv/x\n",
        ] {
            assert!(bad.parse::<SandboxPath>().is_err(), "{bad:?}");
        }
        for good in [
            "/srv/out",
            "/data",
            "/home/agents/shared",
            "/etcetera/x",
            "/var/lib/reports",
        ] {
            assert!(good.parse::<SandboxPath>().is_ok(), "{good}");
        }
    }
}
