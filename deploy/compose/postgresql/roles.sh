#!/bin/sh
# Run once by the image of PostgreSQL, on an empty database: the role that owns the schema and migrates it, and the one
# that the services have, which may read and write rows and nothing else.
set -eu

secrets=${TIDINGS_SECRETS:-/run/secrets}
owner=$(cat "$secrets/postgresql_owner_password")
service=$(cat "$secrets/postgresql_service_password")

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  -v database="$POSTGRES_DB" -v owner="$owner" -v service="$service" <<'SQL'
CREATE ROLE tidings_owner LOGIN PASSWORD :'owner';
CREATE ROLE tidings_service LOGIN PASSWORD :'service';
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO tidings_owner, tidings_service;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tidings_owner;
GRANT USAGE ON SCHEMA public TO tidings_service;
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tidings_service;
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO tidings_service;
SQL
