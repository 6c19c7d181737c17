-- Who may do what: capability tokens, principals, and the policy documents that were active.
create table capability_tokens (
    granted_at              timestamptz not null,
    valid_until             timestamptz,
    revoked_at              timestamptz,
    workspace_id            text collate "C" not null,
    token_id                text collate "C" not null,
    issued_to_principal_id  text collate "C" not null,
    granted_by_principal_id text collate "C" not null,
    parent_token_id         text collate "C",
    revoked_by              text,
    revoked_reason          text,
    scopes                  json        not null,
    primary key (workspace_id, token_id)
);

comment on table capability_tokens is 'Capability tokens. A token is dead too when one that it descends from is revoked or expired.';

create table principals (
    quarantined_at     timestamptz,
    workspace_id       text collate "C" not null,
    principal_id       text collate "C" not null,
    principal_type     text collate "C",
    actor_id           text,
    quarantine_reason  text,
    quarantined_by     text,
    primary key (workspace_id, principal_id)
);

comment on table principals is 'On whose authority calls are made.';
comment on column principals.principal_type is 'service, user or agent; absent when it was quarantined before it was registered.';
comment on column principals.quarantined_at is 'Since when it may do nothing; absent when it may act.';

create table policy_revisions (
    activated_at     timestamptz not null,
    revision         bigint      not null,
    workspace_id     text collate "C" not null,
    enforcement_mode text collate "C" not null,
    previous_mode    text collate "C",
    activated_by     text        not null,
    digest           bytea       not null,
    document         text        not null,
    primary key (workspace_id, revision)
);

comment on table policy_revisions is 'Every policy document that was made the active one.';
