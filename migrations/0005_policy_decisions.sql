-- Every answer of the gate: one row for each tool.invoked, policy.denied and policy.requires_approval.
create table policy_decisions (
    decided_at          timestamptz not null,
    seq                 bigint      not null,
    policy_revision     bigint,
    blocked             boolean     not null,
    workspace_id        text collate "C" not null,
    run_id              text collate "C" not null,
    tool_call_id        text collate "C" not null,
    category            text collate "C" not null,
    decision            text collate "C" not null,
    reason_code         text collate "C" not null,
    enforcement_mode    text collate "C" not null,
    zone                text collate "C" not null,
    principal_id        text collate "C",
    capability_token_id text collate "C",
    tool_name           text        not null,
    action_type         text,
    reason              text        not null,
    hosts               json,
    findings            json,
    primary key (workspace_id, run_id, seq)
);

create index policy_decisions_refused on policy_decisions (decided_at) where decision <> 'allow';
create index policy_decisions_refused_by_reason on policy_decisions (reason_code, decided_at) where decision <> 'allow';

comment on table policy_decisions is 'Every answer of the gate.';
comment on column policy_decisions.seq is 'The seq of the event that recorded it.';
comment on column policy_decisions.decision is 'allow, require_approval or deny.';
comment on column policy_decisions.category is 'What was asked: tool, or egress for the request that a call makes.';
comment on column policy_decisions.blocked is 'Whether the answer stopped the call; false in shadow mode.';
comment on column policy_decisions.hosts is 'The hosts that the input names; absent when none, and for allowed calls.';
comment on column policy_decisions.findings is 'Every check that objected; absent when none did.';
