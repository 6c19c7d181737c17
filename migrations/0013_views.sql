-- What dashboards show. Every view reads a bounded part of an index:
-- counts stop at 10,000 and then say so, and history reaches back 24 hours.

create view runs_by_state as
select s.status, least(n.runs, 10000) as runs, n.runs > 10000 as or_more
from (values ('queued'), ('running'), ('waiting_approval'), ('waiting_actor'),
             ('succeeded'), ('failed'), ('cancelled'), ('rejected')) as s (status)
cross join lateral (
    select count(*) as runs
    from (select 1 from runs r where r.status = s.status limit 10001) as some_runs
) as n;

comment on view runs_by_state is 'Runs in each state, counted up to 10,000; or_more tells when there are more.';

create view oldest_queued as
select workspace_id, run_id, zone, lane, created_at, not_before, now() - created_at as age
from runs
where status = 'queued'
order by created_sequence
limit 100;

comment on view oldest_queued is 'The 100 runs that have waited longest for a worker.';

create view runs_stalled as
select workspace_id, run_id, status, zone, worker, attempt, moved_at, now() - moved_at as age
from runs
where status in ('queued', 'running')
order by moved_at
limit 100;

comment on view runs_stalled is 'The 100 live runs that have not moved for longest.';

create view failures_recent as
select workspace_id, run_id, title, zone, ended_at,
       error ->> 'stage' as stage, error ->> 'reason_code' as reason_code,
       error ->> 'tool_name' as tool_name, error ->> 'reason' as reason
from runs
where status = 'failed'
order by created_sequence desc
limit 100;

comment on view failures_recent is 'The 100 youngest runs that failed.';

create view denials_by_reason as
select reason_code, decision, enforcement_mode, blocked, count(*) as decisions, max(decided_at) as last_at
from (
    select reason_code, decision, enforcement_mode, blocked, decided_at
    from policy_decisions
    where decision <> 'allow' and decided_at > now() - interval '24 hours'
    order by decided_at desc
    limit 100000
) as recent
group by reason_code, decision, enforcement_mode, blocked;

comment on view denials_by_reason is 'What the gate refused in the last 24 hours (the latest 100,000 answers), by reason.';

create view denials_recent as
select decided_at, workspace_id, run_id, tool_call_id, tool_name, category, zone, decision,
       reason_code, reason, enforcement_mode, blocked, principal_id, capability_token_id
from policy_decisions
where decision <> 'allow'
order by decided_at desc
limit 100;

comment on view denials_recent is 'The latest 100 answers of the gate that were not allow.';

create view approvals_waiting as
select workspace_id, run_id, approval_id, tool_name, question, reason_code, principal_id,
       requested_at, expires_at, expires_at - now() as remaining
from approvals
where status = 'waiting'
order by expires_at
limit 1000;

comment on view approvals_waiting is 'The approvals that somebody has to decide, the most urgent first.';

create view egress_by_host as
select host, status, count(*) as requests, max(requested_at) as last_at
from (
    select host, status, requested_at
    from egress_requests
    where requested_at > now() - interval '24 hours'
    order by requested_at desc
    limit 100000
) as recent
group by host, status;

comment on view egress_by_host is 'Requests to the outside in the last 24 hours (the latest 100,000), by host.';

create view projector_lag as
select name, last_sequence, stream_last_sequence,
       greatest(stream_last_sequence - last_sequence, 0) as lag_messages,
       case when stream_last_sequence > last_sequence
            then greatest(extract(epoch from now() - last_stored_at), 0) else 0
       end::double precision as lag_seconds,
       extract(epoch from now() - written_at)::double precision as silent_seconds
from projection_checkpoint;

comment on view projector_lag is 'How far the read tables are behind the stream. silent_seconds grows when no projector runs.';

create view workers_alive as
select worker_id, zones, slots, busy, draining, version, started_at, seen_at, now() - seen_at as age
from workers
where seen_at > now() - interval '1 minute';

comment on view workers_alive is 'The workers that were heard of within the last minute.';

-- Postgres cannot look into JSON that holds a NUL character, and one such input must not take a dashboard down.
create function readable(data json) returns json
    language sql immutable parallel safe
    return case when strpos(data::text, '\u0000') > 0
                then replace(data::text, '\u0000', '\ufffd')::json else data end;

comment on function readable(json) is 'The same JSON with U+FFFD in the place of NUL, so that -> and ->> work on it. For show only.';

create view tool_call_details as
select c.*, readable(i.data) -> 'input' as input, readable(o.data) -> 'output' as output
from tool_calls c
left join events i on i.workspace_id = c.workspace_id and i.run_id = c.run_id and i.seq = c.invoked_seq
left join events o on o.workspace_id = c.workspace_id and o.run_id = c.run_id and o.seq = c.ended_seq;

comment on view tool_call_details is 'Tool calls with their input and output. Select by workspace_id and run_id.';
