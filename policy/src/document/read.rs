//! Reading a document: TOML first, then its JSON Schema, then what a schema cannot say; every fault with its place.

use std::{collections::BTreeMap, fmt::Display, str::FromStr, sync::LazyLock};

use jsonschema::{ValidationError, Validator, error::ValidationErrorKind};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Cidr, DocumentFault, DocumentFaults, Period, PolicyDocument, Position, SandboxPath, ToolName,
    sandbox,
};
use crate::host::DomainPattern;

/// Bytes of a document; beyond them it is refused.
const MAX_BYTES: usize = 1024 * 1024;
/// At most this many faults are told.
const MAX_FAULTS: usize = 200;

/// Reads a document.
pub(super) fn document(text: &str) -> Result<PolicyDocument, DocumentFaults> {
    static SCHEMA: LazyLock<Option<Validator>> =
        LazyLock::new(|| validator(&PolicyDocument::json_schema()));
    of_form(text, SCHEMA.as_ref(), contradictions)
}

/// Reads another TOML file of people's in the same strict way: its JSON Schema, whose formats are those of the policy's types,
/// and then `contradictions`, which tells JSON pointers and what is wrong there. All faults are told, each with its place in the text.
pub fn toml_file<T: DeserializeOwned>(
    text: &str,
    schema: &Value,
    contradictions: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, DocumentFaults> {
    of_form(text, validator(schema).as_ref(), contradictions)
}

fn of_form<T: DeserializeOwned>(
    text: &str,
    schema: Option<&Validator>,
    contradictions: impl FnOnce(&T) -> Vec<Fault>,
) -> Result<T, DocumentFaults> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "the document has {} bytes; the limit is {MAX_BYTES}",
            text.len()
        );
        return Err(whole(message));
    }
    let (json, places) = to_json(text)?;
    let faults = against_schema(&json, schema)?;
    if !faults.is_empty() {
        return Err(placed(text, &places, faults));
    }
    let document: T = serde_json::from_value(json).map_err(|error| whole(error.to_string()))?;
    let faults = contradictions(&document);
    if faults.is_empty() {
        Ok(document)
    } else {
        Err(placed(text, &places, faults))
    }
}

/// Where the value at `pointer` stands, or the nearest value around it that can be found.
pub(super) fn position_of(text: &str, pointer: &str) -> Position {
    let places = to_json(text).map(|(_, places)| places).unwrap_or_default();
    Position::at(text, places.nearest(pointer))
}

/// The bytes at which the key and the value of each JSON pointer begin.
#[derive(Default)]
struct Places {
    keys: BTreeMap<String, usize>,
    values: BTreeMap<String, usize>,
}

impl Places {
    /// Where to look for what is wrong at `pointer`: its value, or else its key, or else what holds it.
    fn nearest(&self, pointer: &str) -> usize {
        let mut pointer = pointer;
        loop {
            let place = self.values.get(pointer).or_else(|| self.keys.get(pointer));
            match (place, pointer.rsplit_once('/')) {
                (Some(place), _) => return *place,
                (None, Some((above, _))) => pointer = above,
                (None, None) => return 0,
            }
        }
    }
}

/// A JSON pointer and what is wrong there.
type Fault = (String, String);

fn whole(message: String) -> DocumentFaults {
    let position = Position { line: 1, column: 1 };
    DocumentFaults(vec![DocumentFault {
        pointer: String::new(),
        position,
        message,
    }])
}

fn placed(text: &str, places: &Places, faults: Vec<Fault>) -> DocumentFaults {
    let mut faults: Vec<(usize, Fault)> = faults
        .into_iter()
        .map(|fault| (places.nearest(&fault.0), fault))
        .collect();
    faults.sort_by_key(|(offset, _)| *offset);
    faults.truncate(MAX_FAULTS);
    let told = faults
        .into_iter()
        .map(|(offset, (pointer, message))| DocumentFault {
            pointer,
            position: Position::at(text, offset),
            message,
        });
    DocumentFaults(told.collect())
}

// --- TOML

fn to_json(text: &str) -> Result<(Value, Places), DocumentFaults> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut faults: Vec<DocumentFault> = errors
            .iter()
            .take(MAX_FAULTS)
            .map(|error| DocumentFault {
                pointer: String::new(),
                position: Position::at(text, error.span().map_or(0, |span| span.start)),
                message: format!("not TOML: {}", error.message()),
            })
            .collect();
        faults.sort_by_key(|fault| fault.position);
        faults.dedup();
        return Err(DocumentFaults(faults));
    }
    let mut places = Places::default();
    let value = table_to_json(table.get_ref(), "", &mut places);
    Ok((value, places))
}

fn table_to_json(table: &DeTable<'_>, pointer: &str, places: &mut Places) -> Value {
    let mut fields = Map::new();
    for (key, value) in table {
        let name: &str = key.get_ref();
        let below = format!("{pointer}/{}", escaped(name));
        fields.insert(name.to_owned(), value_to_json(value, &below, places));
        places.keys.insert(below, key.span().start);
    }
    Value::Object(fields)
}

fn value_to_json(value: &Spanned<DeValue<'_>>, pointer: &str, places: &mut Places) -> Value {
    // A table is best shown at its key; an item of an array has none.
    let is_item = pointer
        .rsplit('/')
        .next()
        .is_some_and(|name| name.parse::<usize>().is_ok());
    if is_item || !matches!(value.get_ref(), DeValue::Table(_)) {
        places.values.insert(pointer.to_owned(), value.span().start);
    }
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        // Beyond 64 bits there is no integer that any field takes; as text it fails the schema.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(|| Value::String(number.as_str().to_owned()), Value::Number),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => items
            .iter()
            .enumerate()
            .map(|(place, item)| value_to_json(item, &format!("{pointer}/{place}"), places))
            .collect(),
        DeValue::Table(table) => table_to_json(table, pointer, places),
    }
}

// --- the schema

fn validator(schema: &Value) -> Option<Validator> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .with_format("domain-pattern", |text: &str| {
            text.parse::<DomainPattern>().is_ok()
        })
        .with_format("cidr", |text: &str| text.parse::<Cidr>().is_ok())
        .with_format("period", |text: &str| text.parse::<Period>().is_ok())
        .with_format("sandbox-path", |text: &str| {
            text.parse::<SandboxPath>().is_ok()
        })
        .with_format("tool-name", |text: &str| text.parse::<ToolName>().is_ok())
        .build(schema)
        .ok()
}

fn against_schema(json: &Value, schema: Option<&Validator>) -> Result<Vec<Fault>, DocumentFaults> {
    // A schema that does not compile is a fault of this program; nothing is let through on its account.
    let schema = schema.ok_or_else(|| whole("this version's own schema cannot be used".into()))?;
    Ok(schema
        .iter_errors(json)
        .flat_map(|error| told(&error))
        .collect())
}

/// One fault for each thing that is wrong, at the value that it is about.
fn told(error: &ValidationError<'_>) -> Vec<Fault> {
    let pointer = error.instance_path().as_str().to_owned();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|key| {
                let below = format!("{pointer}/{}", escaped(key));
                (below, format!("`{}` is not known here", printable(key)))
            })
            .collect(),
        ValidationErrorKind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default();
            let below = format!("{pointer}/{}", escaped(name));
            vec![(
                below,
                told(error)
                    .pop()
                    .map_or_else(String::new, |(_, message)| message),
            )]
        }
        ValidationErrorKind::Format { format } => {
            let text = error.instance().as_str().unwrap_or_default();
            vec![(pointer, explained(format, text))]
        }
        _ => vec![(pointer, printable(&error.to_string()))],
    }
}

/// What the type behind a format says of a text that it refuses.
fn explained(format: &str, text: &str) -> String {
    fn refusal<T: FromStr<Err: Display>>(text: &str) -> String {
        text.parse::<T>()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }
    let shown = printable(text);
    match format {
        "domain-pattern" => refusal::<DomainPattern>(text),
        "cidr" => format!("`{shown}` {}", refusal::<Cidr>(text)),
        "period" => format!("`{shown}` {}", refusal::<Period>(text)),
        "sandbox-path" => format!("`{shown}` {}", refusal::<SandboxPath>(text)),
        "tool-name" => format!("`{shown}` {}", refusal::<ToolName>(text)),
        other => format!("`{shown}` is not a {other}"),
    }
}

/// A key as one part of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Cut to 300 characters, control characters escaped: the message quotes what somebody wrote.
fn printable(text: &str) -> String {
    text.chars()
        .take(300)
        .flat_map(char::escape_debug)
        .collect()
}

// --- what a schema cannot say

fn contradictions(document: &PolicyDocument) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut known = BTreeMap::new();
    for (place, action) in document.actions.iter().enumerate() {
        if let Some(first) = known.insert(&action.action_type, place) {
            faults.push((
                format!("/actions/{place}/type"),
                format!(
                    "`{}` is registered already, in /actions/{first}",
                    printable(&action.action_type)
                ),
            ));
        }
    }
    if document.egress.connect_timeout > document.egress.timeout {
        faults.push((
            "/egress/connect_timeout".to_owned(),
            format!(
                "is longer than the whole request's `timeout`, {}",
                document.egress.timeout
            ),
        ));
    }
    faults.extend(sandbox::contradictions(&document.sandbox));
    faults
}
