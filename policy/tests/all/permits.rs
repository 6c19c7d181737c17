//! Permits: nobody but the gate makes one, and nobody makes two of one.

use serde_json::json;

use crate::world::{ask, ask_egress, call, request_of, snapshot, with_input};

#[test]
fn a_permit_cannot_be_made_or_copied_elsewhere() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// Compiles only while no permit and no answer implements `$refused`: otherwise both `impl`s fit, and `_` is ambiguous.
macro_rules! assert_not_implemented {
    ($refused:path: $($type:ty),+) => {{
        trait Fits<Marker> {
            fn fits() {}
        }
        struct Implemented;
        impl<T> Fits<()> for T {}
        impl<T: $refused> Fits<Implemented> for T {}
        $(<$type as Fits<_>>::fits();)+
    }};
}

#[test]
fn a_permit_is_not_read_from_anywhere() {
    use gatewright_policy::{Answer, EgressAnswer, EgressPermit, Permit};
    assert_not_implemented!(serde::de::DeserializeOwned: Permit, EgressPermit, Answer, EgressAnswer);
    assert_not_implemented!(serde::Serialize: Permit, EgressPermit);
    assert_not_implemented!(Clone: Permit, EgressPermit, Answer, EgressAnswer);
    assert_not_implemented!(Default: Permit, EgressPermit, Answer, EgressAnswer);
}

#[test]
fn a_permit_names_its_call_its_tool_and_its_input() {
    let snapshot = snapshot("auto_allow = ['echo']");
    let call = with_input(call("echo", &json!({})), &json!({ "text": "hello" }));
    let (_, permit) = ask(&call, &snapshot, None).into_parts();
    let permit = permit.unwrap();
    assert_eq!(permit.tool_call_id(), &call.tool_call_id);
    assert_eq!(permit.definition_digest(), &call.tool.definition_digest);
    assert_eq!(permit.input_digest(), &call.input_digest);
    let other = with_input(call.clone(), &json!({ "text": "goodbye" }));
    assert!(!permit.covers(
        &call.tool_call_id,
        &call.tool.definition_digest,
        &other.input_digest
    ));
}

#[test]
fn an_egress_permit_names_its_request() {
    let snapshot = snapshot("auto_allow = ['egress.request']\ndomains = { allow = ['*'] }");
    let call = call("egress.request", &json!({}));
    let request = request_of(&call, "GET", "https://EXAMPLE.com./x", "external.read");
    let (record, permit) = ask_egress(&request, &snapshot, None).into_parts();
    let permit = permit.unwrap();
    assert!(!record.blocked);
    assert_eq!(permit.tool_call_id(), &call.tool_call_id);
    assert_eq!(
        (permit.hop(), permit.method(), permit.host().as_str()),
        (0, "GET", "example.com")
    );
    assert_eq!(permit.url_digest(), &request.url_digest);
}
