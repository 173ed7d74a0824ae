#!/usr/bin/env bash
# Restores a backup of backup.sh into an empty database. DATABASE_URL names the database, with the role that owns the
# schema.
#   deploy/postgres/restore.sh FILE
# After another recovery to an earlier state (from the write-ahead log, a snapshot or an asynchronous standby):
#   deploy/postgres/restore.sh --recovered
# No service may run meanwhile. Before a service starts, Redis must restart without its data: docs/OPERATIONS.md.
set -euo pipefail

if (($# != 1)) || [[ -z ${DATABASE_URL:-} ]]; then
  echo "usage: DATABASE_URL=postgres://... $0 FILE|--recovered" >&2
  exit 2
fi
ask() {
  psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1" "$DATABASE_URL"
}
# Rows without the new epoch counter would look like a finished restore.
unfinished() {
  echo "NOT finished: run $0 --recovered, and start no service before it says 'restored'" >&2
  echo "(if pg_restore itself failed, the database is still empty: restore again)" >&2
}
if [[ $1 != --recovered ]]; then
  tables=$(ask "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
  if [[ $tables != 0 ]]; then
    echo "the database has $tables tables: restore into an empty one" >&2
    echo "(if they come from an unfinished restore, run: $0 --recovered)" >&2
    exit 1
  fi
  trap unfinished EXIT
  pg_restore --no-owner --no-privileges --single-transaction --exit-on-error --dbname="$DATABASE_URL" "$1"
fi
trap unfinished EXIT
# Clients know the epochs that were opened after the backup. No epoch may be used again, because a cursor of the old
# epoch would seem valid in the new one. The seconds since 1970 are higher than every epoch that was counted one by one,
# and higher than those of an earlier restore.
ask "SELECT setval(pg_get_serial_sequence('epochs_opened', 'epoch'),
       greatest(extract(epoch FROM now())::bigint, nextval(pg_get_serial_sequence('epochs_opened', 'epoch'))))" >/dev/null
trap - EXIT
echo "restored; now start Redis without its data, then persistence, then the gateways" >&2
