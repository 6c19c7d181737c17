-- Messages that could not be worked on. Fed from the stream DEAD_LETTERS.
create table dead_letters (
    sequence         bigint      primary key,
    source_sequence  bigint      not null,
    died_at          timestamptz not null,
    workspace_id     text collate "C" not null,
    run_id           text collate "C",
    reason_code      text collate "C" not null,
    put_aside_by     text collate "C" not null,
    subject          text        not null,
    reason           text        not null,
    violations       json,
    message_json     json,
    message_text     text
);

comment on table dead_letters is 'Messages that could not be worked on.';
comment on column dead_letters.sequence is 'Its sequence in the stream DEAD_LETTERS.';
comment on column dead_letters.source_sequence is 'The message''s sequence in the stream that it came from.';
comment on column dead_letters.subject is 'The subject it was published to, and can be replayed to.';
comment on column dead_letters.message_json is 'The message, where it is JSON; else message_text has it.';
