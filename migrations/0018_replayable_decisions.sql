-- A decision's row holds all that the gate was asked, so that it can be asked again under another policy.
alter table policy_decisions
    add column room_id text,
    add column asked   json;

-- The order in which decisions are replayed. Rows come in this order, so the index grows at its end.
create index policy_decisions_decided_at on policy_decisions (decided_at);

comment on column policy_decisions.hosts is 'The hosts that the input names; absent when none.';
comment on column policy_decisions.asked is 'What the gate was asked beside what the other columns say; absent where an older version recorded the decision.';
comment on table policy_decisions is 'Every answer of the gate, also for requests to the outside that it allowed.';
