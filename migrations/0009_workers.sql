-- What each worker last said of itself. Fed from the bucket `workers`, not from the event stream.
create table workers (
    started_at timestamptz not null,
    seen_at    timestamptz not null,
    slots      integer     not null,
    busy       integer     not null,
    draining   boolean     not null,
    worker_id  text collate "C" primary key,
    zones      text[]      not null,
    version    text        not null
);

comment on table workers is 'What each worker last said of itself.';
