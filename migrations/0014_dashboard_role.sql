-- A role that can only read. It cannot log in until an administrator says so:
--   alter role gatewright_dashboard login password '…';
-- Roles belong to the server, not to the database, so another fleet's database may have created it,
-- perhaps at this very moment.
do
$$
begin
    if not exists (select from pg_roles where rolname = 'gatewright_dashboard') then
        create role gatewright_dashboard nologin;
    end if;
exception
    when duplicate_object or unique_violation then
        null;
    when insufficient_privilege then
        raise exception 'the role `gatewright_dashboard` does not exist, and this user may not create roles'
            using hint = 'As an administrator run: create role gatewright_dashboard nologin; then migrate again.';
end
$$;

grant usage on schema public to gatewright_dashboard;
grant select on all tables in schema public to gatewright_dashboard;
alter default privileges in schema public grant select on tables to gatewright_dashboard;
