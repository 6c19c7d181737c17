-- The count of each state reads the index. Without an order the planner took a state that few runs are in for one of many,
-- and read the whole table for it.
create or replace view runs_by_state as
select s.status, least(n.runs, 10000) as runs, n.runs > 10000 as or_more
from (values ('queued'), ('running'), ('waiting_approval'), ('waiting_actor'),
             ('succeeded'), ('failed'), ('cancelled'), ('rejected')) as s (status)
cross join lateral (
    select count(*) as runs
    from (select 1 from runs r where r.status = s.status order by r.created_sequence limit 10001) as some_runs
) as n;
