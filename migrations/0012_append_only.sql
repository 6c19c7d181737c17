-- Nobody changes or removes an event.
--
-- The one exception is a rebuild from the stream, which empties every read table at once through
-- `reset_projection()`; it announces itself by a setting that lasts for its transaction only.
-- Emptying needs the table owner's rights besides, which no dashboard has.
create function refuse_event_change() returns trigger
    language plpgsql as
$$
begin
    if tg_op = 'TRUNCATE' and current_setting('gatewright.rebuild', true) = 'on' then
        return null;
    end if;
    raise exception 'events is append-only: % is refused', lower(tg_op)
        using errcode = 'restrict_violation',
              hint = 'To fold the stream into the read tables anew, run: gatewright projector rebuild';
end
$$;

create trigger events_append_only
    before update or delete or truncate on events
    for each statement execute function refuse_event_change();

create function reset_projection() returns void
    language plpgsql as
$$
begin
    perform set_config('gatewright.rebuild', 'on', true);
    truncate events, runs, steps, tool_calls, policy_decisions, approvals, egress_requests,
        capability_tokens, principals, policy_revisions;
    delete from projection_checkpoint where name = 'events';
    perform set_config('gatewright.rebuild', 'off', true);
end
$$;

revoke execute on function reset_projection() from public;

comment on function reset_projection() is 'Empties the tables that are folded from the stream EVENTS, and the checkpoint, so that the projector starts anew.';
