-- The tool calls of every run.
--
-- Input and output are not kept twice: `invoked_seq` and `ended_seq` name the events that carry them.
create table tool_calls (
    requested_at timestamptz not null,
    started_at   timestamptz,
    ended_at     timestamptz,
    duration_us  bigint,
    invoked_seq  bigint,
    ended_seq    bigint,
    step_number  integer     not null,
    call_number  integer     not null,
    invocations  integer     not null,
    executions   integer     not null,
    idempotent   boolean,
    workspace_id text collate "C" not null,
    run_id       text collate "C" not null,
    tool_call_id text collate "C" not null,
    status       text collate "C" not null,
    effect       text collate "C",
    approval_id  text collate "C",
    tool_name    text        not null,
    input_digest bytea,
    error        jsonb,
    primary key (workspace_id, run_id, step_number, call_number)
);

comment on table tool_calls is 'The tool calls of every run.';
comment on column tool_calls.status is 'waiting_approval, running, succeeded, failed or cancelled.';
comment on column tool_calls.invocations is 'How often its intent was recorded (tool.invoked); 0 when the gate never allowed it.';
comment on column tool_calls.executions is 'How often the tool was executed, as its outcome tells.';
comment on column tool_calls.invoked_seq is 'The seq of its last tool.invoked, which carries the input; absent when it never was invoked.';
comment on column tool_calls.ended_seq is 'The seq of the tool.succeeded, which carries the output, or tool.failed.';
comment on column tool_calls.effect is 'none, read or write; known once it was invoked.';
comment on column tool_calls.approval_id is 'The approval it waits for or was made with.';
comment on column tool_calls.error is 'Why it failed: stage, reason_code, reason, decision, blocked, enforcement_mode, tool_name.';
