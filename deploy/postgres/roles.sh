#!/bin/sh
# The roles of docs/howto/secure-nats.md, made once while the database is made: who owns the tables, who looks for runs
# that stand still, who reads. Run by the image `postgres`, in whose database `POSTGRES_DB` and by whose superuser.
# Passwords: PROJECTOR_PASSWORD, DISPATCHER_PASSWORD, DASHBOARD_PASSWORD.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set database="$POSTGRES_DB" --set projector="$PROJECTOR_PASSWORD" \
    --set dispatcher="$DISPATCHER_PASSWORD" --set dashboard="$DASHBOARD_PASSWORD" <<'SQL'
create role gatewright_projector login password :'projector';
create role gatewright_dispatcher login password :'dispatcher';
create role gatewright_dashboard login password :'dashboard';
alter database :"database" owner to gatewright_projector;
alter schema public owner to gatewright_projector;
grant usage on schema public to gatewright_dispatcher, gatewright_dashboard;
set role gatewright_projector;
alter default privileges in schema public grant select on tables to gatewright_dispatcher, gatewright_dashboard;
SQL
