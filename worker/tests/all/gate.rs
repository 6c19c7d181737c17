//! Tool calls through the real gate, with a policy that allows everything but what a test says.

use std::sync::{Arc, Mutex};

use gatewright_policy::{
    CompiledPolicy, EgressRequest, Permit, PolicyContext, PolicyDocument, QuotaAnswer, Snapshot,
    ToolCallRequest, authorize_egress, authorize_tool_call, host,
};
use gatewright_schemas::{
    Digest, ErrorInfo, EventBody, ReasonCode, RunId, StepId, Timestamp, ToolCallId, WorkspaceId,
};
use gatewright_worker::{
    egress::{Gateway, HopAnswer, HopRequest, Rules, Settings},
    tool::{Call, Execution, ExecutionError, Registry, ResolvedCall, execute_with_limits},
};
use serde_json::Value;

/// Loopback is an exception; everything may be called.
pub const OPEN: &str = r#"
default = "allow"
[domains]
allow = ["*"]
allow_writes = ["*"]
[egress]
address_exceptions = ["127.0.0.0/8", "::1"]
"#;

/// The same without the exception.
pub const PUBLIC_ONLY: &str = r#"
default = "allow"
[domains]
allow = ["*"]
allow_writes = ["*"]
"#;

/// Everything that stands around a tool call.
pub struct World {
    pub registry: Registry,
    pub rules: Rules,
    /// What judges the hops.
    snapshot: Snapshot,
    /// What judges the call itself; it allows everything, so that a test sees what the gateway does.
    open: Snapshot,
    asked: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub fn new(policy: &str) -> Self {
        Self::with(policy, Settings::default())
    }

    pub fn with(policy: &str, settings: Settings) -> Self {
        let document = PolicyDocument::parse(policy).unwrap();
        let rules = Rules::from(&document.egress);
        let gateway = Arc::new(Gateway::new(settings).unwrap());
        Self {
            registry: Registry::standard(gateway).unwrap(),
            rules,
            snapshot: snapshot(document),
            open: snapshot(PolicyDocument::parse(OPEN).unwrap()),
            asked: Arc::default(),
        }
    }

    /// Resolves, asks the gate and executes once.
    pub async fn call(&self, tool: &str, input: Value) -> Execution {
        let resolved = match self.registry.resolve(tool, &input) {
            Ok(resolved) => resolved,
            Err(info) => return Execution::quiet(Err(ExecutionError::final_failure(info))),
        };
        let gate = |hop: &HopRequest| self.answer(hop);
        let call = Call::new((&workspace(), &run()), call_id(), input, &self.rules, &gate);
        let permit = self.permit(&resolved, &call.tool_call_id, call.input_digest());
        execute_with_limits(&*resolved.tool, permit, &call).await
    }

    /// `egress.request`
    pub async fn request(&self, input: Value) -> Execution {
        self.call("egress.request", input).await
    }

    pub fn permit(&self, resolved: &ResolvedCall, call: &ToolCallId, input: &Digest) -> Permit {
        let request = ToolCallRequest {
            workspace_id: workspace(),
            room_id: None,
            run_id: run(),
            step_id: step(),
            tool_call_id: call.clone(),
            context: Ok(PolicyContext::default()),
            tool: resolved.policy_facts(),
            input_digest: input.clone(),
            hosts: Ok(vec![host("somewhere.example")]),
            sandbox_permissions: None,
        };
        let answer =
            authorize_tool_call(&request, &self.open, None, &QuotaAnswer::NotNeeded, now());
        let (record, permit) = answer.into_parts();
        permit.unwrap_or_else(|| panic!("not allowed: {record:?}"))
    }

    /// The gate's answer to a hop.
    pub fn answer(&self, hop: &HopRequest) -> HopAnswer {
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {} {}", hop.hop, hop.method, hop.target.url()));
        let tool = self
            .registry
            .resolve(
                "egress.request",
                &serde_json::json!({ "target_url": "http://x" }),
            )
            .unwrap();
        let request = EgressRequest {
            workspace_id: workspace(),
            room_id: None,
            run_id: run(),
            step_id: step(),
            tool_call_id: hop.tool_call_id.clone(),
            context: Ok(PolicyContext::default()),
            tool: tool.policy_facts(),
            input_digest: Digest::of(&Value::Null),
            hop: hop.hop,
            method: hop.method.clone(),
            host: hop.host().clone(),
            call_host: hop.call_host.clone(),
            action_type: hop.action_type.clone(),
            url_digest: hop.url_digest(),
        };
        let answer = authorize_egress(
            &request,
            &self.snapshot,
            None,
            &QuotaAnswer::NotNeeded,
            now(),
        );
        match answer.into_parts() {
            (_, Some(permit)) => HopAnswer::Permit(permit),
            (record, None) => HopAnswer::Blocked(record),
        }
    }

    /// Every hop that the gate was asked about: number, method, URL.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn snapshot(document: PolicyDocument) -> Snapshot {
    let digest = document.digest();
    let mut snapshot = Snapshot::new();
    snapshot.set_policy(Some(Arc::new(CompiledPolicy::new(document, 1, digest))));
    snapshot.set_synced_at(now());
    snapshot
}

pub fn host(text: &str) -> host::Host {
    host::Host::parse(text).unwrap()
}

pub fn call_id() -> ToolCallId {
    ToolCallId::of(&workspace(), &run(), 1, 1)
}

pub fn workspace() -> WorkspaceId {
    WorkspaceId::new("acme").unwrap()
}

pub fn run() -> RunId {
    RunId::new("r1").unwrap()
}

fn step() -> StepId {
    StepId::of(&workspace(), &run(), 1)
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

/// The error of an execution that must have failed.
pub fn error(execution: &Execution) -> &ErrorInfo {
    match &execution.outcome {
        Ok(output) => panic!("it succeeded: {output}"),
        Err(error) => &error.info,
    }
}

/// The output of an execution that must have succeeded.
pub fn output(execution: &Execution) -> &Value {
    match &execution.outcome {
        Ok(output) => output,
        Err(error) => panic!("it failed: {:?} after {:?}", error.info, execution.events),
    }
}

/// The events in short: `requested 1 host`, `allowed 0 host 200`, `blocked 1 host code`.
pub fn told(execution: &Execution) -> Vec<String> {
    let short = |event: &EventBody| match event {
        EventBody::EgressRequested(e) => format!("requested {} {}", e.hop, e.host),
        EventBody::EgressAllowed(e) => {
            let status = e.status.map_or("-".to_owned(), |status| status.to_string());
            format!("allowed {} {} {status}", e.hop, e.host)
        }
        EventBody::EgressBlocked(e) => {
            format!("blocked {} {} {}", e.hop, e.host, e.error.reason_code)
        }
        other => format!("{other:?}"),
    };
    execution.events.iter().map(short).collect()
}

/// Everything that is recorded of an execution, as one text.
pub fn recorded(execution: &Execution) -> String {
    let events: Vec<Value> = execution.events.iter().map(EventBody::to_data).collect();
    format!("{events:?} {:?}", execution.outcome)
}

pub fn assert_code(execution: &Execution, code: ReasonCode) {
    assert_eq!(error(execution).reason_code, code, "{:?}", error(execution));
}
