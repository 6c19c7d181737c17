-- Every event of the stream, as it was written.
--
-- `data` is `json`, not `jsonb`: it keeps the text to the letter, and the hash chain is over that text.
-- Ids and words are compared byte by byte (`collate "C"`): faster, and the same on every machine.
create table events (
    stream_sequence    bigint      not null,
    place              smallint    not null,
    event_version      smallint    not null,
    attempt            integer     not null,
    seq                bigint      not null,
    occurred_at        timestamptz not null,
    stored_at          timestamptz not null,
    workspace_id       text collate "C" not null,
    run_id             text collate "C" not null,
    event_id           text collate "C" not null,
    event_type         text collate "C" not null,
    step_id            text collate "C",
    zone               text collate "C" not null,
    writer             text collate "C" not null,
    actor_type         text collate "C" not null,
    actor_id           text        not null,
    actor_principal_id text collate "C",
    room_id            text,
    thread_id          text,
    correlation_id     text,
    causation_id       text,
    prev_hash          bytea,
    hash               bytea       not null,
    data               json        not null,
    exact              json,
    primary key (stream_sequence, place),
    unique (workspace_id, run_id, seq)
);

create index events_stored_at on events using brin (stored_at) with (autosummarize = on);

comment on table events is 'The stream, event by event. Append-only.';
comment on column events.stream_sequence is 'The commit''s sequence in the stream EVENTS.';
comment on column events.place is 'The event''s place in its commit, from 1.';
comment on column events.seq is 'The event''s place in its run, from 1, without gaps.';
comment on column events.stored_at is 'When the stream stored the commit.';
comment on column events.exact is 'The whole event, only where a text column cannot hold it: Postgres has no NUL character, so those columns then show U+FFFD instead.';
