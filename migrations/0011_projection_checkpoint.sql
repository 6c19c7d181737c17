-- How far the stream has been folded into the read tables; written in the transaction that writes the rows.
create table projection_checkpoint (
    name                 text collate "C" primary key,
    stream_created_at    timestamptz not null,
    last_sequence        bigint      not null,
    last_event_id        text collate "C" not null,
    last_stored_at       timestamptz not null,
    stream_last_sequence bigint      not null,
    written_at           timestamptz not null
);

comment on table projection_checkpoint is 'How far the stream has been folded into the read tables.';
comment on column projection_checkpoint.last_sequence is 'The last commit that was folded.';
comment on column projection_checkpoint.last_event_id is 'The last event of that commit: a stream that has another there is another stream.';
comment on column projection_checkpoint.stream_last_sequence is 'The stream''s last sequence when the projector last looked.';
comment on column projection_checkpoint.written_at is 'When the projector last wrote, by this server''s clock.';
