-- The approvals that calls asked for.
create table approvals (
    requested_at      timestamptz not null,
    expires_at        timestamptz not null,
    decided_at        timestamptz,
    used_at           timestamptz,
    requested_seq     bigint      not null,
    workspace_id      text collate "C" not null,
    run_id            text collate "C" not null,
    approval_id       text collate "C" not null,
    tool_call_id      text collate "C" not null,
    status            text collate "C" not null,
    question          text collate "C" not null,
    reason_code       text collate "C",
    principal_id      text collate "C",
    tool_name         text        not null,
    decided_by        text,
    reason            text,
    definition_digest bytea       not null,
    input_digest      bytea       not null,
    input             json        not null,
    primary key (workspace_id, run_id, approval_id)
);

create index approvals_by_expiry on approvals (expires_at) where status = 'waiting';
create index approvals_by_request on approvals (requested_at);

comment on table approvals is 'The approvals that calls asked for.';
comment on column approvals.status is 'waiting, approved, denied, expired, used (its call was made) or cancelled (the run ended first).';
comment on column approvals.question is 'make_the_call, or go_on_after_unknown_outcome where nobody knows whether the call took effect.';
comment on column approvals.reason_code is 'Why the gate asks; absent where the gate has no part in the question.';
comment on column approvals.input is 'The exact input that was hashed, its secrets replaced by references.';
