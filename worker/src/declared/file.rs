//! The file in which tools are declared: TOML, `[[tools]]` each. Strict, and every fault is told at once, with its place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gatewright_policy::{
    DocumentFaults,
    document::{Period, SandboxPath, ToolName, toml_file},
};
use gatewright_schemas::{DataAccess, Effect, validate};
use jsonschema::Validator;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{answer::Answer, command::Command, service::Service};
use crate::{
    sandbox::Program,
    tool::{Definition, in_sandbox},
};

/// The longest `timeout`.
const MAX_TIME: Duration = Duration::from_mins(10);
/// How much longer than its answer a service's tool may take.
const GRACE: Duration = Duration::from_secs(5);
/// Bytes of a schema that stands in a file of its own.
const MAX_SCHEMA: u64 = 1024 * 1024;

/// A tool that was declared, checked.
#[derive(Debug)]
pub(super) struct Declaration {
    pub(super) definition: Arc<Definition>,
    pub(super) answer: Arc<Answer>,
    pub(super) runs: Runs,
}

/// What a declared tool is.
#[derive(Debug)]
pub(super) enum Runs {
    Command(Command),
    Service(Service),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// The tools.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    tools: Vec<Entry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Command,
    Nats,
}

/// A tool as it is declared. What is left out is strict: it writes, and may not be repeated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: ToolName,
    #[schemars(length(min = 1, max = 2000))]
    description: String,
    kind: Kind,
    /// Of a command: the program, as an absolute path, and its first arguments.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    argv: Vec<String>,
    /// Of a command: files beside the program that it needs, from outside `/usr`.
    #[serde(default)]
    #[schemars(length(max = 100))]
    files: Vec<SandboxPath>,
    /// Of a service: where it listens.
    subject: Option<String>,
    /// A JSON Schema (draft 2020-12), or the path of one, seen from this file.
    #[schemars(extend("type" = ["object", "string"]))]
    input_schema: Value,
    /// The same of what it answers; anything when left out.
    #[schemars(extend("type" = ["object", "string"]))]
    output_schema: Option<Value>,
    #[serde(default = "write")]
    effect: Effect,
    #[serde(default)]
    idempotent: bool,
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.:-]{1,100}$"))]
    action_type: Option<String>,
    #[serde(default = "half_a_minute")]
    timeout: Period,
    #[serde(default = "sixty_four_kilobytes")]
    #[schemars(range(min = 2, max = 524_288))]
    max_output: usize,
    #[serde(default = "once")]
    #[schemars(range(min = 1, max = 10))]
    max_executions: u32,
    #[serde(default)]
    requires_token: bool,
    #[serde(default)]
    data: DataAccess,
}

fn write() -> Effect {
    Effect::Write
}
fn half_a_minute() -> Period {
    Period::from_secs(30)
}
fn sixty_four_kilobytes() -> usize {
    64 * 1024
}
fn once() -> u32 {
    1
}

/// What is known beside the text.
struct Around<'a> {
    beside: &'a Path,
    taken: &'a [&'a str],
    prefix: &'a str,
}

/// Collects what is wrong with one tool.
struct Faults<'a> {
    pointer: String,
    found: &'a mut Vec<(String, String)>,
}

impl Faults<'_> {
    fn add(&mut self, field: &str, message: impl Into<String>) {
        let pointer = format!("{}{field}", self.pointer);
        self.found.push((pointer, message.into()));
    }
}

pub(super) fn read(
    text: &str,
    beside: &Path,
    taken: &[&str],
    prefix: &str,
) -> Result<Vec<Declaration>, DocumentFaults> {
    let around = Around {
        beside,
        taken,
        prefix,
    };
    let mut declared = Vec::new();
    let schema = schemars::schema_for!(File).to_value();
    toml_file(text, &schema, |file: &File| {
        let mut found = Vec::new();
        let mut names = BTreeMap::new();
        for (place, entry) in file.tools.iter().enumerate() {
            let pointer = format!("/tools/{place}");
            let mut faults = Faults {
                pointer: pointer.clone(),
                found: &mut found,
            };
            if let Some(first) = names.insert(&entry.name, pointer) {
                faults.add(
                    "/name",
                    format!("`{}` is declared already, in {first}", entry.name),
                );
            }
            declared.extend(declare(entry, &around, &mut faults));
        }
        found
    })?;
    Ok(declared)
}

/// Makes a tool of what was declared; none when something is missing, which is then among the faults.
fn declare(entry: &Entry, around: &Around<'_>, faults: &mut Faults<'_>) -> Option<Declaration> {
    if around.taken.contains(&entry.name.as_str()) {
        let message = format!(
            "`{}` is the name of one of Gatewright's own tools",
            entry.name
        );
        faults.add("/name", message);
    }
    let time = entry.timeout.duration();
    if time > MAX_TIME || time.is_zero() {
        let most = Period::from_secs(MAX_TIME.as_secs());
        faults.add(
            "/timeout",
            format!("must be more than nothing and at most {most}"),
        );
    }
    if entry.max_executions > 1 && !entry.idempotent {
        let message = "a tool that is not idempotent is executed once";
        faults.add("/max_executions", message);
    }
    let input = schema(&entry.input_schema, "/input_schema", around, faults);
    let output = match &entry.output_schema {
        Some(stated) => schema(stated, "/output_schema", around, faults).map(Some),
        None => Some(None),
    };
    let runs = match entry.kind {
        Kind::Command => command(entry, faults).map(Runs::Command),
        Kind::Nats => service(entry, around, faults).map(Runs::Service),
    };
    let ((input, _), output, runs) = (input?, output?, runs?);
    let (output_schema, output) = output.unzip();
    let mut definition = Definition::new(entry.name.as_str(), &entry.description, input);
    definition.effect = entry.effect;
    definition.idempotent = entry.idempotent;
    definition.action_type.clone_from(&entry.action_type);
    definition.requires_token = entry.requires_token;
    definition.data = entry.data.clone();
    definition.max_output = entry.max_output;
    definition.max_executions = entry.max_executions;
    let what = match &runs {
        Runs::Command(command) => {
            definition.sandboxed = true;
            definition.timeout = command.time + in_sandbox::GRACE;
            let digests = programs_of(command).map(|(path, digest)| (path, digest.into()));
            json!({ "argv": command.argv, "files": digests.collect::<serde_json::Map<_, Value>>() })
        }
        Runs::Service(service) => {
            definition.timeout = service.time + GRACE;
            json!({ "subject": service.subject })
        }
    };
    definition.runs = Some(json!({
        "what": what,
        "timeout_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        "output_schema": output_schema,
    }));
    Some(Declaration {
        definition: Arc::new(definition),
        answer: Arc::new(Answer::new(output)),
        runs,
    })
}

fn programs_of(command: &Command) -> impl Iterator<Item = (String, &str)> {
    let programs = command.programs.iter();
    programs.map(|program| {
        (
            program.path().display().to_string(),
            program.digest().as_str(),
        )
    })
}

/// A schema that stands here, or in a file. It never leads to a third place: a remote `$ref` is a fault.
fn schema(
    stated: &Value,
    field: &str,
    around: &Around<'_>,
    faults: &mut Faults<'_>,
) -> Option<(Value, Validator)> {
    let read = |path: &str| {
        let path = around.beside.join(path);
        let told =
            |error: &dyn std::fmt::Display| format!("cannot read `{}`: {error}", path.display());
        let size = fs::metadata(&path).map_err(|error| told(&error))?.len();
        if size > MAX_SCHEMA {
            return Err(told(&format!("it has more than {MAX_SCHEMA} bytes")));
        }
        let text = fs::read_to_string(&path).map_err(|error| told(&error))?;
        serde_json::from_str(&text).map_err(|error| told(&error))
    };
    let schema = match stated {
        Value::String(path) => read(path),
        inline => Ok(inline.clone()),
    };
    let compiled = schema.and_then(|schema| match validate::compile(&schema) {
        Ok(validator) => Ok((schema, validator)),
        Err(invalid) => Err(format!("is no JSON Schema that can be used: {invalid}")),
    });
    compiled.map_err(|message| faults.add(field, message)).ok()
}

fn command(entry: &Entry, faults: &mut Faults<'_>) -> Option<Command> {
    if entry.subject.is_some() {
        faults.add("/subject", "belongs to kind `nats`");
    }
    let Some(program) = entry.argv.first() else {
        faults.add(
            "",
            "a command needs `argv`: the program's absolute path, and its first arguments",
        );
        return None;
    };
    if let Some(place) = entry.argv.iter().position(|word| word.contains('\0')) {
        faults.add(
            &format!("/argv/{place}"),
            "must not contain a null character",
        );
        return None;
    }
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    if is_systems(program) {
        // Neither copied nor digested: it is what the machine has, and needs its neighbours.
        if !Path::new(program).is_file() {
            faults.add("/argv/0", format!("there is no program `{program}`"));
            return None;
        }
    } else {
        match program.parse::<SandboxPath>() {
            Ok(path) => paths.push(("/argv/0".into(), path.as_str().into())),
            Err(error) => {
                faults.add("/argv/0", format!("`{program}` {error}"));
                return None;
            }
        }
    }
    for (place, path) in entry.files.iter().enumerate() {
        paths.push((format!("/files/{place}"), path.as_str().into()));
    }
    let mut programs = Vec::new();
    for (field, path) in &paths {
        match Program::read(path) {
            Ok(program) => programs.push(program),
            Err(error) => faults.add(field, told(&error)),
        }
    }
    (programs.len() == paths.len()).then(|| Command {
        argv: entry.argv.clone(),
        programs,
        time: entry.timeout.duration(),
    })
}

/// Whether a program belongs to the system, which every sandbox sees.
fn is_systems(program: &str) -> bool {
    let is_plain = !program.split('/').any(|part| matches!(part, "." | ".."));
    is_plain
        && ["/usr/", "/bin/", "/sbin/"]
            .iter()
            .any(|folder| program.starts_with(folder))
}

fn told(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn service(entry: &Entry, around: &Around<'_>, faults: &mut Faults<'_>) -> Option<Service> {
    for (field, is_given) in [
        ("/argv", !entry.argv.is_empty()),
        ("/files", !entry.files.is_empty()),
    ] {
        if is_given {
            faults.add(field, "belongs to kind `command`");
        }
    }
    let Some(subject) = &entry.subject else {
        faults.add("", "a service needs `subject`: where it listens");
        return None;
    };
    if let Some(message) = subject_fault(subject, around.prefix) {
        faults.add("/subject", message);
        return None;
    }
    Some(Service {
        subject: subject.clone(),
        time: entry.timeout.duration(),
    })
}

/// What is wrong with a service's subject. It is one place outside of the fleet: no pattern, nothing of the server's, nothing of the
/// fleet's, whose subjects begin with `prefix`.
pub fn subject_fault(subject: &str, prefix: &str) -> Option<&'static str> {
    let mut tokens = subject.split('.');
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .chars()
                .all(|c| c.is_ascii_graphic() && !matches!(c, '*' | '>'))
    };
    if subject.len() > 255 || !tokens.clone().all(is_token) {
        return Some("is no subject: words joined by dots, without `*`, `>` and white space");
    }
    let first = tokens.next().unwrap_or_default();
    if first.starts_with('$') || first == "_INBOX" {
        return Some("is the server's own");
    }
    if first == prefix {
        return Some("is the fleet's own: what is published there steers runs");
    }
    None
}
