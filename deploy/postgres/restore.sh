#!/usr/bin/env bash
# Brings a backup of backup.sh into an empty database. DATABASE_URL names it, as the role that owns the schema.
#   deploy/postgres/restore.sh FILE
# After a recovery that went back in time by other means (from the write-ahead log, a snapshot, an asynchronous standby):
#   deploy/postgres/restore.sh --recovered
# No service may run meanwhile, and Redis must start anew without its data before one does: docs/OPERATIONS.md.
set -euo pipefail

if (($# != 1)) || [[ -z ${DATABASE_URL:-} ]]; then
  echo "usage: DATABASE_URL=postgres://... $0 FILE|--recovered" >&2
  exit 2
fi
ask() {
  psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1" "$DATABASE_URL"
}
# Rows without the counter of epochs would look like a restore that is done.
unfinished() {
  echo "NOT finished: run $0 --recovered, and start no service before it says that it is done" >&2
  echo "(where pg_restore itself failed, nothing was brought: restore again)" >&2
}
if [[ $1 != --recovered ]]; then
  tables=$(ask "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
  if [[ $tables != 0 ]]; then
    echo "the database has $tables tables: restore into an empty one" >&2
    echo "(were they brought by a restore that did not finish? Then: $0 --recovered)" >&2
    exit 1
  fi
  trap unfinished EXIT
  pg_restore --no-owner --no-privileges --single-transaction --exit-on-error --dbname="$DATABASE_URL" "$1"
fi
trap unfinished EXIT
# Epochs that were opened since the backup was made are known to clients. None may be given out again: a cursor of one
# would be taken for good in the other. Seconds since 1970 are above all that were ever counted one by one, and above
# those of an earlier restore.
ask "SELECT setval(pg_get_serial_sequence('epochs_opened', 'epoch'),
       greatest(extract(epoch FROM now())::bigint, nextval(pg_get_serial_sequence('epochs_opened', 'epoch'))))" >/dev/null
trap - EXIT
echo "restored; now start Redis without its data, then persistence, then the gateways" >&2
