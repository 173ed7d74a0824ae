#!/bin/sh
# The image of PostgreSQL runs this script once, on an empty database. It creates the role that owns and migrates the
# schema, the role of the services, which may only read and write rows, the role of the exporter, which may only read
# statistics, and the role of the backups.
set -eu

secrets=${TIDINGS_SECRETS:-/run/secrets}
owner=$(cat "$secrets/postgresql_owner_password")
service=$(cat "$secrets/postgresql_service_password")
monitoring=$(cat "$secrets/postgresql_monitoring_password")
backup=$(cat "$secrets/postgresql_backup_password")

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  -v database="$POSTGRES_DB" -v owner="$owner" -v service="$service" \
  -v monitoring="$monitoring" <<'SQL'
CREATE ROLE tidings_owner LOGIN PASSWORD :'owner';
CREATE ROLE tidings_service LOGIN PASSWORD :'service';
CREATE ROLE tidings_monitoring LOGIN PASSWORD :'monitoring' IN ROLE pg_monitor;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO tidings_owner, tidings_service, tidings_monitoring;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tidings_owner;
GRANT USAGE ON SCHEMA public TO tidings_service;
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tidings_service;
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO tidings_service;
SQL
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --quiet \
  --file "${TIDINGS_BACKUP_ROLE:-/etc/pgbackrest/role.sql}"
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -v backup="$backup" <<'SQL'
ALTER ROLE tidings_backup PASSWORD :'backup';
SQL
