#!/usr/bin/env bash
# Restores a backup of backup.sh, in two steps.
# 1. Copies it into the empty data folder of a PostgreSQL server that does not run. Run it as the server's user:
#      deploy/postgres/restore.sh FOLDER DATA
#    Or restores the moment TIME from the repository of pgBackRest, which has backups and the write-ahead log. TIME is the
#    last moment that is kept, with a zone: '2026-03-01 09:30:00+00'. PGBACKREST_STANZA and PGBACKREST_CONFIG name the
#    repository:
#      deploy/postgres/restore.sh --to TIME DATA
# 2. When the server runs again (also after a recovery by other means: from the write-ahead log, a snapshot or an
#    asynchronous standby). DATABASE_URL names the database, with the role that owns the schema:
#      deploy/postgres/restore.sh --recovered
# No service may run meanwhile. Before a service starts, Redis must restart without its data: docs/OPERATIONS.md.
set -euo pipefail

usage() {
  echo "usage: $0 FOLDER DATA | --to TIME DATA, then DATABASE_URL=postgres://... $0 --recovered" >&2
  exit 2
}
unfinished() {
  echo "NOT finished: $1" >&2
}
[[ ${1:-} ]] || usage
if [[ $1 != --recovered ]]; then
  to=
  if [[ $1 == --to ]]; then
    (($# == 3)) || usage
    # PostgreSQL and pgBackRest would read a time without a zone in two different zones.
    if [[ ! $2 =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}\ [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?[+-][0-9]{2}(:?[0-9]{2})?$ ]]; then
      echo "$2 is not a time with a zone, such as '2026-03-01 09:30:00+00'" >&2
      exit 2
    fi
    to=$2
    shift
  fi
  (($# == 2)) || usage
  if [[ -e $2 && -n $(ls -A "$2") ]]; then
    echo "$2 is not empty: restore into an empty folder" >&2
    exit 1
  fi
  umask 077
  if [[ $to ]]; then
    trap 'unfinished "empty $2 and restore again; start no server on it"' EXIT
    mkdir -p "$2"
    # The server becomes writable at TIME. If the archive ends before TIME, the server refuses to start.
    pgbackrest --stanza="${PGBACKREST_STANZA:-tidings}" --pg1-path="$2" --type=time --target="$to" \
      --target-action=promote restore
    trap - EXIT
    echo "restored to $to; now start PostgreSQL on $2, wait until it is writable, then run $0 --recovered" >&2
    exit
  fi
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
