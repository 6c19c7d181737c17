-- Where every run stands.
--
-- `created_sequence` orders runs by creation, is unique, and is what pages are cut by.
-- Dashboards select by time through `created_at`, for which a block-range index is enough.
create table runs (
    created_sequence    bigint      not null,
    last_sequence       bigint      not null,
    last_seq            bigint      not null,
    created_at          timestamptz not null,
    moved_at            timestamptz not null,
    started_at          timestamptz,
    ended_at            timestamptz,
    not_before          timestamptz,
    deadline            timestamptz,
    wait_expires_at     timestamptz,
    lease               bigint,
    attempt             integer     not null,
    succeeded_calls     integer     not null,
    failed_calls        integer     not null,
    denied_calls        integer     not null,
    workspace_id        text collate "C" not null,
    run_id              text collate "C" not null,
    status              text collate "C" not null,
    zone                text collate "C" not null,
    lane                text collate "C",
    worker              text collate "C",
    principal_id        text collate "C",
    capability_token_id text collate "C",
    retry_of            text collate "C",
    waiting_approval_id text collate "C",
    title               text,
    room_id             text,
    thread_id           text,
    correlation_id      text,
    requested_run_id    text,
    error               jsonb,
    primary key (workspace_id, run_id)
);

create index runs_by_status on runs (status, created_sequence);
create index runs_by_workspace on runs (workspace_id, status, created_sequence);
create index runs_by_creation on runs using brin (created_at) with (autosummarize = on);
create index runs_live on runs (moved_at) where status in ('queued', 'running');
create index runs_held on runs (worker) where status = 'running';
create index runs_due on runs (deadline) where ended_at is null and deadline is not null;

comment on table runs is 'Where every run stands: the fold of its events.';
comment on column runs.created_sequence is 'Sequence in the stream of the commit that created it.';
comment on column runs.last_sequence is 'Sequence in the stream of its last commit: the fence of the next.';
comment on column runs.last_seq is 'The seq of its last event.';
comment on column runs.moved_at is 'When the stream stored its last commit, by the stream''s clock.';
comment on column runs.worker is 'The worker that holds it, while it is running.';
comment on column runs.lease is 'Sequence of the queue message by which the worker holds it.';
comment on column runs.status is 'queued, running, waiting_approval, waiting_actor, succeeded, failed, cancelled or rejected.';
comment on column runs.requested_run_id is 'The run id that a rejected submission asked for.';
comment on column runs.error is 'Why it did not succeed: stage, reason_code, reason, decision, blocked, enforcement_mode, tool_name.';
