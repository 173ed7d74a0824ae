-- The two roles of Tidings: one that owns the tables and runs migrations, one that the services and jobs use. Run once
-- by a superuser, connected to the database that Tidings has for itself, before the first migration; may be repeated.
-- Passwords are given apart: ALTER ROLE tidings_owner PASSWORD '...'; ALTER ROLE tidings_service PASSWORD '...';

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidings_owner') THEN
    CREATE ROLE tidings_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidings_service') THEN
    CREATE ROLE tidings_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO tidings_owner, tidings_service', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO tidings_owner;
GRANT USAGE ON SCHEMA public TO tidings_service;

-- Rows only: no tables are made, changed, emptied or dropped by who serves. Keys are made by identity columns and
-- counts and the list of public rooms by triggers, which need no right of their own.
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner IN SCHEMA public
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tidings_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO tidings_service;
-- But the list of migrations, which the services read. No default says so: `tidings-migrations up` takes the right to
-- write it away whenever it has run; here it is taken back from what was granted just now.
DO $$
BEGIN
  IF to_regclass('public.seaql_migrations') IS NOT NULL THEN
    REVOKE INSERT, UPDATE, DELETE ON public.seaql_migrations FROM tidings_service;
  END IF;
END
$$;
ALTER DEFAULT PRIVILEGES FOR ROLE tidings_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
