-- Approvals that several people have to give, what a reviewer has to know, and approvals that hold for like calls.
alter table approvals
    add column approvers  smallint not null default 1,
    add column votes      json     not null default '[]',
    add column asked      json     not null default '{}',
    add column remember_s bigint;

comment on column approvals.approvers is 'How many different people have to say yes, at least.';
comment on column approvals.votes is 'Those who said yes, in order: [{by, at, reason}].';
comment on column approvals.asked is 'Who asks and for what: asked_by, hosts, effect, sandbox_permissions, likeness, findings.';
comment on column approvals.remember_s is 'For how many seconds like calls go without asking; absent when they do not.';

create table remembered_approvals (
    remembered_at     timestamptz not null,
    expires_at        timestamptz not null,
    revoked_at        timestamptz,
    workspace_id      text collate "C" not null,
    remembered_id     text collate "C" not null,
    approval_id       text collate "C" not null,
    principal_id      text collate "C" not null,
    effect            text collate "C" not null,
    tool_name         text        not null,
    revoked_by        text,
    revoked_reason    text,
    definition_digest bytea       not null,
    input_digest      bytea,
    actor             json        not null,
    hosts             json        not null,
    findings          json        not null,
    approved_by       json        not null,
    primary key (workspace_id, remembered_id)
);

comment on table remembered_approvals is 'Approvals that hold for like calls: of the same actor, principal and tool, with the same host or the same input.';
comment on column remembered_approvals.input_digest is 'The input that the calls must have; absent where the hosts bound them.';
comment on column remembered_approvals.effect is 'What the calls may do to the world at most.';
comment on column remembered_approvals.findings is 'The objections of the gate that it settles, and no others.';

create or replace function reset_projection() returns void
    language plpgsql as
$$
begin
    perform set_config('gatewright.rebuild', 'on', true);
    truncate events, runs, steps, tool_calls, policy_decisions, approvals, egress_requests,
        capability_tokens, principals, policy_revisions, remembered_approvals;
    delete from projection_checkpoint where name = 'events';
    perform set_config('gatewright.rebuild', 'off', true);
end
$$;

-- What older rows lack stands in the stream: everything is folded anew, so that the tables equal a rebuild.
select reset_projection();
