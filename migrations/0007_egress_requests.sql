-- The requests to the outside, one row for each hop of each call.
create table egress_requests (
    requested_at timestamptz not null,
    ended_at     timestamptz,
    step_number  integer     not null,
    call_number  integer     not null,
    hop          integer     not null,
    requests     integer     not null,
    http_status  integer,
    workspace_id text collate "C" not null,
    run_id       text collate "C" not null,
    tool_call_id text collate "C" not null,
    status       text collate "C" not null,
    method       text,
    action_type  text,
    host         text        not null,
    address      text,
    url          text,
    error        jsonb,
    primary key (workspace_id, run_id, step_number, call_number, hop)
);

create index egress_requests_by_time on egress_requests (requested_at);

comment on table egress_requests is 'The requests to the outside, one row for each hop of each call.';
comment on column egress_requests.hop is '0 for the call''s own request, then one more for each redirect.';
comment on column egress_requests.requests is 'How often this hop was asked for; more than once when a call was executed again.';
comment on column egress_requests.status is 'requested, allowed or blocked.';
comment on column egress_requests.http_status is 'The status that came back; absent when none did.';
