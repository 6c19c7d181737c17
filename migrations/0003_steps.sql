-- The steps of every run.
create table steps (
    created_at   timestamptz not null,
    ended_at     timestamptz,
    number       integer     not null,
    workspace_id text collate "C" not null,
    run_id       text collate "C" not null,
    step_id      text collate "C" not null,
    status       text collate "C" not null,
    title        text,
    primary key (workspace_id, run_id, number)
);

comment on table steps is 'The steps of every run.';
comment on column steps.number is 'Its place in the run, from 1; the last part of step_id.';
comment on column steps.status is 'running, succeeded, failed or cancelled.';
