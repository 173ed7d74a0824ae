-- Creates the role of backups. A superuser runs this file in the database of Tidings, because rights to functions belong
-- to one database. It may run again. Set the password separately: ALTER ROLE tidings_backup PASSWORD '...';
-- The role reads settings and statistics, and begins and ends a backup. It can read no table.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidings_backup') THEN
    CREATE ROLE tidings_backup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO tidings_backup', current_database());
END
$$;
GRANT pg_monitor TO tidings_backup;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO tidings_backup;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_stop(boolean) TO tidings_backup;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text) TO tidings_backup;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO tidings_backup;
