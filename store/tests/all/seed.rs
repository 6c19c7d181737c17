//! A database as it is after many runs, uneven as they are: rare states, a workspace of few runs, one that has been quiet since,
//! one run of many parts.

use sqlx::PgConnection;

use crate::server::execute;

/// Runs within thirty days, the youngest now, each with an answer of the gate; and what else there is with so many.
const RUNS: &str = "
    insert into runs (created_sequence, last_sequence, last_seq, created_at, moved_at, ended_at, deadline, attempt, succeeded_calls,
        failed_calls, denied_calls, workspace_id, run_id, status, zone, lane, worker)
    select n, n, 1, at, at, case when status not in ('queued', 'running', 'waiting_approval') then at + interval '2 seconds' end,
        case when n % 3 = 0 then at + interval '1 day' end, 1, 1, 0, 0,
        case when n < {runs} * 0.1 then 'once' when n % 5000 = 5 then 'rare' else 'w' || n % 10 end, 'r' || n, status,
        case n % 100000 when 7 then 'high_stakes' else case n % 100 when 7 then 'supervised' else 'sandbox' end end,
        case n % 1000 when 3 then 'interactive' else 'background' end, case status when 'running' then 'worker-' || n % 20 end
    from generate_series(1, {runs}) as n
    cross join lateral (select now() - ({runs} - n) * (interval '30 days' / {runs})) as t (at)
    cross join lateral (select case
        when n > {runs} * 0.999 then (array['queued', 'running', 'waiting_approval', 'queued'])[n % 4 + 1]
        when n % 50 = 0 then 'failed' when n % 1000 = 1 then 'cancelled' when n % 5000 = 2 then 'rejected'
        when n % 5000 = 3 then 'waiting_actor' else 'succeeded' end) as s (status);
    insert into policy_decisions (decided_at, seq, policy_revision, blocked, workspace_id, run_id, tool_call_id, category, decision,
        reason_code, enforcement_mode, zone, tool_name, reason)
    select created_at, 1, 1, created_sequence % 20 = 0, workspace_id, run_id, workspace_id || '.' || run_id || '.1.1', 'tool',
        case when created_sequence % 20 = 0 then 'deny' else 'allow' end,
        case when created_sequence % 20 <> 0 then 'default_allow' when created_sequence % 60 = 0 then 'default_deny' else 'tool_not_found' end,
        'enforce', 'sandbox', 'runtime.noop', 'because'
    from runs;
    insert into approvals (requested_at, expires_at, decided_at, requested_seq, workspace_id, run_id, approval_id, tool_call_id,
        status, question, tool_name, definition_digest, input_digest, input)
    select created_at, created_at + interval '1 day', case when created_sequence < {runs} * 0.99 then created_at + interval '1 minute' end,
        1, workspace_id, run_id, workspace_id || '.' || run_id || '.1.1.a1', 'c',
        case when created_sequence < {runs} * 0.99 then 'approved' else 'waiting' end, 'make_the_call', 'pay', '', '', '{}'
    from runs where created_sequence % 10 = 0;
    insert into egress_requests (requested_at, step_number, call_number, hop, requests, workspace_id, run_id, tool_call_id, status, host)
    select created_at, 1, 1, 0, 1, workspace_id, run_id, 'c', 'allowed', 'h' || created_sequence % 40 from runs where created_sequence % 2 = 0;
    insert into projection_checkpoint (name, stream_created_at, last_sequence, last_event_id, last_stored_at, stream_last_sequence, written_at)
    values ('events', now(), 1, 'e', now(), 2, now());";

/// The parts of each run, one run of many parts, and the lists beside the runs.
const PARTS: &str = "
    insert into steps (created_at, ended_at, number, workspace_id, run_id, step_id, status)
    select created_at, ended_at, 1, workspace_id, run_id, workspace_id || '.' || run_id || '.1', 'succeeded' from runs;
    insert into steps (created_at, number, workspace_id, run_id, step_id, status)
    select now(), n, 'w1', 'big', 'w1.big.' || n, 'succeeded' from generate_series(1, {parts}) as n;
    insert into tool_calls (requested_at, step_number, call_number, invocations, executions, workspace_id, run_id, tool_call_id,
        status, tool_name, invoked_seq, ended_seq)
    select created_at, 1, 1, 1, 1, workspace_id, run_id, workspace_id || '.' || run_id || '.1.1', 'succeeded', 'runtime.noop', 2, 3
    from runs;
    insert into tool_calls (requested_at, step_number, call_number, invocations, executions, workspace_id, run_id, tool_call_id,
        status, tool_name, invoked_seq, ended_seq)
    select now(), n, 1, 1, 1, 'w1', 'big', 'w1.big.' || n || '.1', 'succeeded', 'runtime.noop', n * 2, n * 2 + 1
    from generate_series(1, {parts}) as n;
    insert into policy_decisions (decided_at, seq, policy_revision, blocked, workspace_id, run_id, tool_call_id, category, decision,
        reason_code, enforcement_mode, zone, tool_name, reason)
    select now(), n * 2, 1, false, 'w1', 'big', 'w1.big.' || n || '.1', 'tool', 'allow', 'default_allow', 'enforce', 'sandbox', 'runtime.noop', 'because'
    from generate_series(1, {parts}) as n;
    insert into approvals (requested_at, expires_at, requested_seq, workspace_id, run_id, approval_id, tool_call_id, status, question,
        tool_name, definition_digest, input_digest, input)
    select now(), now(), n * 2, 'w1', 'big', 'w1.big.1.1.a' || n, 'w1.big.1.1', 'used', 'make_the_call', 'pay', '', '', '{}'
    from generate_series(1, {parts} / 10) as n;
    insert into egress_requests (requested_at, step_number, call_number, hop, requests, workspace_id, run_id, tool_call_id, status, host)
    select now(), n, 1, 0, 1, 'w1', 'big', 'w1.big.' || n || '.1', 'allowed', 'h' from generate_series(1, {parts}) as n;
    insert into events (stream_sequence, place, event_version, attempt, seq, occurred_at, stored_at, workspace_id, run_id, event_id,
        event_type, zone, writer, actor_type, actor_id, prev_hash, hash, data)
    select created_sequence, seq, 1, 1, seq, created_at, created_at, workspace_id, run_id, 'e' || created_sequence || '.' || seq,
        event_type, zone, 'w', 'service', 'w', sha256('a'), sha256('b'), data::json
    from runs
    cross join (values (1, 'run.created', '{\"lane\": \"background\", \"zone\": \"sandbox\"}'),
        (2, 'tool.invoked', '{\"input\": {\"say\": \"something of a usual length, which is some words\"}}'),
        (3, 'tool.succeeded', '{\"output\": {\"said\": \"something of a usual length, which is some words\"}}')) as e (seq, event_type, data);
    insert into events (stream_sequence, place, event_version, attempt, seq, occurred_at, stored_at, workspace_id, run_id, event_id,
        event_type, zone, writer, actor_type, actor_id, prev_hash, hash, data)
    select {runs} + n, 1, 1, 1, n, now(), now(), 'w1', 'big', 'b' || n, 'tool.invoked', 'sandbox', 'w', 'service', 'w', sha256('a'),
        sha256('b'), '{\"input\": {}}'
    from generate_series(1, {parts} * 2 + 1) as n;
    insert into capability_tokens (granted_at, workspace_id, token_id, issued_to_principal_id, granted_by_principal_id, scopes)
    select now(), 'w' || n % 2, 't' || n, 'p', 'q', '{}' from generate_series(1, {runs} / 10) as n;
    insert into principals (workspace_id, principal_id, principal_type, actor_id)
    select 'w' || n % 2, 'p' || n, 'agent', 'a' from generate_series(1, {runs} / 10) as n;
    insert into policy_revisions (activated_at, revision, workspace_id, enforcement_mode, activated_by, digest, document)
    select now(), n, '_fleet', 'enforce', 'ann', sha256('a'), 'mode = \"enforce\"' from generate_series(1, {parts}) as n;
    insert into remembered_approvals (remembered_at, expires_at, workspace_id, remembered_id, approval_id, principal_id, effect,
        tool_name, definition_digest, actor, hosts, findings, approved_by)
    select now(), now() + interval '1 hour', 'w' || n % 2, 'm' || n, 'a', 'p', 'write', 'pay', '', '{}', '[]', '[]', '[]'
    from generate_series(1, {runs} / 10) as n;
    insert into dead_letters (sequence, source_sequence, died_at, workspace_id, reason_code, put_aside_by, subject, reason)
    select n, n, now(), case when n < {runs} * 0.01 then 'once' when n % 5000 = 5 then 'rare' else 'w' || n % 10 end, 'submission_invalid', 'd', 's', 'no'
    from generate_series(1, {runs} / 10) as n;
    insert into workers (started_at, seen_at, slots, busy, draining, worker_id, zones, version)
    select now(), now(), 64, 3, false, 'worker-' || n, array['sandbox'], '0' from generate_series(1, 20) as n;";

/// As many runs, in every table that Grafana looks at.
pub async fn runs(connection: &mut PgConnection, runs: u32) {
    fill(connection, RUNS, runs).await;
}

/// And their parts, in all tables.
pub async fn parts(connection: &mut PgConnection, runs: u32) {
    fill(connection, PARTS, runs).await;
}

async fn fill(connection: &mut PgConnection, sql: &str, runs: u32) {
    let sql = sql.replace("{runs}", &runs.to_string());
    let sql = sql.replace("{parts}", "5000");
    execute(connection, &sql).await.unwrap();
    // As autovacuum does, which has had no time to.
    let settle = "vacuum analyze; select brin_summarize_new_values('runs_by_creation')";
    for sql in settle.split("; ") {
        execute(connection, sql).await.unwrap();
    }
}
