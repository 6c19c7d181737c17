//! Policy documents that the tests use.

/// Lets every tool run and any host on loopback be reached; capability tokens do the rest.
pub const OPEN: &str = r#"
mode = "enforce"
default = "deny"
auto_allow = ["runtime.noop", "runtime.echo", "egress.request"]
unregistered_actions_need_approval = false

[domains]
allow = ["*"]
allow_writes = ["*"]

[egress]
address_exceptions = ["127.0.0.0/8"]
"#;

/// [`OPEN`], answers recorded but not obeyed.
pub fn shadow() -> String {
    OPEN.replace("\"enforce\"", "\"shadow\"")
}

/// [`OPEN`], with `lines` put before its first table.
pub fn open_with(lines: &str) -> String {
    OPEN.replace("[domains]", &format!("{lines}\n[domains]"))
}

/// [`OPEN`], with every call of `runtime.echo` waiting for an approval.
pub fn echo_needs_approval() -> String {
    open_with("require_approval = [\"runtime.echo\"]\n")
}
