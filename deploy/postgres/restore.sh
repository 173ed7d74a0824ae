#!/usr/bin/env bash
# Restores a backup of backup.sh, in two steps.
# 1. Copies it into the empty data folder of a PostgreSQL server that does not run. Run it as the server's user:
#      deploy/postgres/restore.sh FOLDER DATA
# 2. When the server runs again (also after a recovery by other means: from the write-ahead log, a snapshot or an
#    asynchronous standby). DATABASE_URL names the database, with the role that owns the schema:
#      deploy/postgres/restore.sh --recovered
# No service may run meanwhile. Before a service starts, Redis must restart without its data: docs/OPERATIONS.md.
set -euo pipefail

usage() {
  echo "usage: $0 FOLDER DATA, then DATABASE_URL=postgres://... $0 --recovered" >&2
  exit 2
}
unfinished() {
  echo "NOT finished: $1" >&2
}
[[ ${1:-} ]] || usage
if [[ $1 != --recovered ]]; then
  (($# == 2)) || usage
  if [[ -e $2 && -n $(ls -A "$2") ]]; then
    echo "$2 is not empty: restore into an empty folder" >&2
    exit 1
  fi
  umask 077
  trap 'unfinished "empty $2 and restore again; start no server on it"' EXIT
  mkdir -p "$2"
  cp --archive "$1/." "$2/"
  chmod 700 "$2"
  pg_verifybackup --quiet "$2"
  trap - EXIT
  echo "copied; now start PostgreSQL on $2, then run $0 --recovered" >&2
  exit
fi
if (($# != 1)) || [[ -z ${DATABASE_URL:-} ]]; then usage; fi
trap 'unfinished "run $0 --recovered again, and start no service before it says restored"' EXIT
# Clients know the epochs that were opened after the backup. No epoch may be used again, because a cursor of the old
# epoch would seem valid in the new one. The seconds since 1970 are higher than every epoch that was counted one by one,
# and higher than those of an earlier restore.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --output=/dev/null "$DATABASE_URL" --command="
  SELECT setval(pg_get_serial_sequence('epochs_opened', 'epoch'),
    greatest(extract(epoch FROM now())::bigint, nextval(pg_get_serial_sequence('epochs_opened', 'epoch'))))"
trap - EXIT
echo "restored; now start Redis without its data, then persistence, then the gateways" >&2
