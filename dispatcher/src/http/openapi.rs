//! The API's own description, OpenAPI 3.1, made of the same table that the routes are made of: what is not in it is not served.

use axum::{Json, Router, handler::Handler, http::Method, routing::MethodFilter, routing::on};
use gatewright_schemas::KeyRole;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::sync::Arc;

use super::{Api, problem::Document};

/// Names the role that an operation needs, for programs.
const ROLE: &str = "x-gatewright-role";

/// Routes and their description.
pub(super) struct Routes {
    router: Router<Arc<Api>>,
    generator: SchemaGenerator,
    paths: Map<String, Value>,
}

/// What an operation is described by.
pub(super) struct Operation<'a> {
    generator: &'a mut SchemaGenerator,
    told: Map<String, Value>,
    parameters: Vec<Value>,
    answers: Map<String, Value>,
}

impl Routes {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
        });
        Self {
            router: Router::new(),
            generator: settings.into_generator(),
            paths: Map::new(),
        }
    }

    /// Something that is looked at.
    pub(super) fn get<T: 'static, H: Handler<T, Arc<Api>>>(
        self,
        path: &str,
        handler: H,
        describe: impl FnOnce(Operation<'_>) -> Operation<'_>,
    ) -> Self {
        self.add((Method::GET, MethodFilter::GET), path, handler, describe)
    }

    /// Something that is done.
    pub(super) fn post<T: 'static, H: Handler<T, Arc<Api>>>(
        self,
        path: &str,
        handler: H,
        describe: impl FnOnce(Operation<'_>) -> Operation<'_>,
    ) -> Self {
        self.add((Method::POST, MethodFilter::POST), path, handler, describe)
    }

    fn add<T: 'static, H: Handler<T, Arc<Api>>>(
        mut self,
        (method, filter): (Method, MethodFilter),
        path: &str,
        handler: H,
        describe: impl FnOnce(Operation<'_>) -> Operation<'_>,
    ) -> Self {
        let operation = Operation {
            generator: &mut self.generator,
            told: Map::new(),
            parameters: in_path(path),
            answers: Map::new(),
        };
        let told = describe(operation).told();
        let methods = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(method.as_str().to_ascii_lowercase(), told);
        }
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// The routes, and one more that serves their description.
    pub(super) fn served(mut self) -> Router<Arc<Api>> {
        let problem = self.generator.subschema_for::<Document>();
        let schemas = self.generator.take_definitions(true);
        let told = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Gatewright",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Runs of AI agents whose tool calls pass a policy gate. Errors are problem documents (RFC 9457).",
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": { "Problem": {
                    "description": "What is wrong",
                    "content": { "application/problem+json": { "schema": problem } },
                } },
                "securitySchemes": { "key": {
                    "type": "http", "scheme": "bearer",
                    "description": "A key that `gatewright key create` made.",
                } },
            },
        });
        let document = Arc::new(told);
        let serve = async move || Json(Arc::clone(&document));
        self.router
            .route("/openapi.json", on(MethodFilter::GET, serve))
    }
}

/// The parameters that a path has in braces.
fn in_path(path: &str) -> Vec<Value> {
    let parts = path.split('/');
    let names = parts.filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect()
}

impl Operation<'_> {
    /// Its name for programs, and what it does for people.
    pub(super) fn named(mut self, id: &str, summary: &str) -> Self {
        self.told.insert("operationId".into(), id.into());
        self.told.insert("summary".into(), summary.into());
        self
    }

    /// Any key may.
    pub(super) fn by_any_key(mut self) -> Self {
        self.told.insert("security".into(), json!([{ "key": [] }]));
        self
    }

    /// Only a key with this role may, and an admin's.
    pub(super) fn by(mut self, role: KeyRole) -> Self {
        let needs = format!("Needs a key with the role `{role}`, or an admin's.");
        self.told.insert("description".into(), needs.into());
        self.told.insert(ROLE.into(), role.as_str().into());
        self.by_any_key()
    }

    /// What it takes in the query.
    pub(super) fn query<Q: JsonSchema>(mut self) -> Self {
        let schema = self.generator.root_schema_for::<Q>();
        let schema = resolved(schema, self.generator);
        let required = schema.get("required").and_then(Value::as_array).cloned();
        let required = required.unwrap_or_default();
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            let is_required = required.iter().any(|one| one == name);
            self.parameters.push(json!({
                "name": name, "in": "query", "required": is_required, "schema": schema,
            }));
        }
        self
    }

    /// A header that it takes.
    pub(super) fn header(mut self, name: &str, about: &str, pattern: &str) -> Self {
        self.parameters.push(json!({
            "name": name, "in": "header", "description": about,
            "schema": { "type": "string", "pattern": pattern },
        }));
        self
    }

    /// What it takes as its body.
    pub(super) fn body<B: JsonSchema>(self) -> Self {
        self.takes::<B>(true)
    }

    /// What it takes as its body; none at all is an empty object.
    pub(super) fn body_if_any<B: JsonSchema>(self) -> Self {
        self.takes::<B>(false)
    }

    fn takes<B: JsonSchema>(mut self, required: bool) -> Self {
        let schema = self.generator.subschema_for::<B>();
        let content = json!({ "application/json": { "schema": schema } });
        let body = json!({ "required": required, "content": content });
        self.told.insert("requestBody".into(), body);
        self
    }

    /// What it answers with this status, and when.
    pub(super) fn answers<A: JsonSchema>(mut self, status: u16, when: &str) -> Self {
        let schema = self.generator.subschema_for::<A>();
        let content = json!({ "application/json": { "schema": schema } });
        let answer = json!({ "description": when, "content": content });
        self.answers.insert(status.to_string(), answer);
        self
    }

    /// It answers with server-sent events, or with nothing where there is no more.
    pub(super) fn answers_events(mut self) -> Self {
        let schema = json!({ "type": "string" });
        self.answers.insert(
            "200".into(),
            json!({
                "description": "Events as they come",
                "content": { "text/event-stream": { "schema": schema } },
            }),
        );
        let nothing = json!({ "description": "The run has ended, and all its events were seen" });
        self.answers.insert("204".into(), nothing);
        self
    }

    fn told(mut self) -> Value {
        for range in ["4XX", "5XX"] {
            let problem = json!({ "$ref": "#/components/responses/Problem" });
            self.answers.insert(range.into(), problem);
        }
        self.told.insert("responses".into(), self.answers.into());
        if !self.parameters.is_empty() {
            self.told
                .insert("parameters".into(), self.parameters.into());
        }
        Value::Object(self.told)
    }
}

/// A schema of its own, its definitions moved to those of all.
fn resolved(mut schema: Schema, generator: &mut SchemaGenerator) -> Schema {
    if let Some(Value::Object(found)) = schema.remove("$defs") {
        generator.definitions_mut().extend(found);
    }
    if let Some(components) = schema.remove("components")
        && let Some(Value::Object(found)) = components.get("schemas").cloned()
    {
        generator.definitions_mut().extend(found);
    }
    schema
}
