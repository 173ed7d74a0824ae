-- Creates the three roles of Tidings: one owns the tables and runs migrations, the services and jobs use the second, and
-- the exporter of metrics uses the third, which can read statistics and no table.
-- A superuser runs this file before the first migration, connected to a database that only Tidings uses. It may run
-- again. Set the passwords separately:
-- ALTER ROLE tidings_owner PASSWORD '...'; ALTER ROLE tidings_service PASSWORD '...';
-- ALTER ROLE tidings_monitoring PASSWORD '...';

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidings_owner') THEN
    CREATE ROLE tidings_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidings_service') THEN
    CREATE ROLE tidings_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidings_monitoring') THEN
    CREATE ROLE tidings_monitoring LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  GRANT pg_monitor TO tidings_monitoring;
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO tidings_owner, tidings_service, tidings_monitoring', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tidings_owner;
GRANT USAGE ON SCHEMA public TO tidings_service;

-- The services may only read and write rows. They need no right to sequences, because identity columns make the keys.
-- Triggers write the counts and the list of public rooms.
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tidings_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tidings_service;
-- The services may only read the list of migrations. The grants above include the right to write it, so this block
-- revokes that right. A default privilege cannot exclude one table, so `tidings-migrations up` revokes it as well.
DO $$
BEGIN
  IF to_regclass('public.seaql_migrations') IS NOT NULL THEN
    REVOKE INSERT, UPDATE, DELETE ON public.seaql_migrations FROM tidings_service;
  END IF;
END
$$;
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
