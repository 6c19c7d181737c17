//! The HTTP API's own description, and whether an answer is as it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use gatewright_schemas::validate;
use serde_json::{Value, json};

use crate::http::Answer;

/// The description, and which of its operations were seen to succeed.
#[derive(Debug)]
pub struct Contract {
    document: Value,
    /// By method and path as they are described.
    operations: BTreeMap<(String, String), Operation>,
    succeeded: Mutex<BTreeSet<String>>,
}

/// What can be asked.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// `GET` or `POST`.
    pub method: String,
    /// Its path, parameters in braces.
    pub path: String,
    /// What is said of it.
    pub told: Value,
}

impl Operation {
    /// Whether it is only for those with a key.
    pub fn needs_key(&self) -> bool {
        !self.told["security"].is_null()
    }

    /// The role that the key needs; none where any will do.
    pub fn role(&self) -> Option<&str> {
        self.told["x-gatewright-role"].as_str()
    }

    /// The names of its parameters that stand in `place`: `path`, `query` or `header`.
    pub fn parameters(&self, place: &str) -> Vec<&str> {
        let all = self.told["parameters"].as_array().into_iter().flatten();
        all.filter(|one| one["in"] == place)
            .filter_map(|one| one["name"].as_str())
            .collect()
    }

    /// Its path with each parameter as `value` says.
    pub fn at(&self, value: impl Fn(&str) -> String) -> String {
        let parts = self.path.split('/').map(|part| {
            let name = part
                .strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'));
            name.map_or_else(|| part.to_owned(), &value)
        });
        parts.collect::<Vec<_>>().join("/")
    }

    fn fits(&self, path: &str) -> bool {
        let (mut described, mut asked) = (self.path.split('/'), path.split('/'));
        loop {
            match (described.next(), asked.next()) {
                (None, None) => return true,
                (Some(part), Some(found)) if part.starts_with('{') || part == found => {}
                _ => return false,
            }
        }
    }
}

impl Contract {
    /// Reads the description.
    pub fn read(document: Value) -> Arc<Self> {
        let mut operations = BTreeMap::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, told) in methods.as_object().unwrap() {
                let operation = Operation {
                    name: told["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    told: told.clone(),
                };
                operations.insert((operation.method.clone(), path.clone()), operation);
            }
        }
        Arc::new(Self {
            document,
            operations,
            succeeded: Mutex::default(),
        })
    }

    /// The document as it is served.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Everything that can be asked.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    /// Names of the operations that never succeeded while somebody looked.
    pub fn never_succeeded(&self) -> Vec<&str> {
        let succeeded = self.succeeded.lock().unwrap();
        let all = self.operations().map(|operation| operation.name.as_str());
        all.filter(|name| !succeeded.contains(*name)).collect()
    }

    /// The schema of what an operation answers with this status, its references resolvable.
    pub fn schema(&self, operation: &Operation, status: u16) -> Option<Value> {
        let answers = &operation.told["responses"];
        let range = format!("{}XX", status / 100);
        let told = [status.to_string(), range]
            .iter()
            .find_map(|key| answers.get(key).cloned())?;
        let told = match told["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.strip_prefix('#')?)?.clone(),
            None => told,
        };
        let kinds = told["content"].as_object();
        let kind = kinds.and_then(|kinds| kinds.iter().next());
        let (kind, schema) = kind.map_or(("", Value::Null), |(kind, content)| {
            (kind.as_str(), content["schema"].clone())
        });
        Some(json!({
            "kind": kind,
            "schema": { "allOf": [schema], "components": self.document["components"] },
        }))
    }

    /// Panics unless the answer is one that the operation says it gives.
    pub fn check(&self, method: &str, target: &str, answer: &Answer) {
        let path = target.split('?').next().unwrap_or(target);
        let fits = |operation: &&Operation| operation.method == method && operation.fits(path);
        // Of two that fit the one with fewer parameters is served.
        let operation = self
            .operations()
            .filter(fits)
            .min_by_key(|operation| operation.parameters("path").len());
        let Some(operation) = operation else {
            assert!(
                answer.status >= 400,
                "{method} {target} is served, and described nowhere"
            );
            return;
        };
        let name = &operation.name;
        let told = self.schema(operation, answer.status);
        let told = told.unwrap_or_else(|| panic!("{name} does not tell of this: {answer:?}"));
        let kind = told["kind"].as_str().unwrap();
        let found = answer.header("content-type").unwrap_or_default();
        assert_eq!(found, kind, "{name}: {answer:?}");
        if kind.ends_with("json") {
            let validator = validate::compile(&told["schema"]).unwrap();
            let wrong = validate::violations(&validator, &answer.body);
            assert!(wrong.is_empty(), "{name} answered {answer:?}: {wrong:?}");
        }
        if answer.status < 300 {
            self.succeeded.lock().unwrap().insert(name.clone());
        }
    }
}
