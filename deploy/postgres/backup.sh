#!/usr/bin/env bash
# Copies the whole PostgreSQL server into a new folder and verifies the copy. The services may run meanwhile.
#   deploy/postgres/backup.sh FOLDER
# DATABASE_URL names the server, with a role that has the attribute REPLICATION. Needs pg_basebackup and pg_verifybackup
# of the server's version. Such a copy keeps no snapshot open. A pg_dump would: while it runs, PostgreSQL removes no old
# version of any row, so tables grow, and batches of very busy rooms become slower and slower.
set -euo pipefail

if (($# != 1)) || [[ -z ${DATABASE_URL:-} ]]; then
  echo "usage: DATABASE_URL=postgres://... $0 FOLDER" >&2
  exit 2
fi
# The backup holds all messages, so only its owner may read it.
umask 077
folder=$1
if [[ -e $folder ]]; then
  echo "$folder is there already" >&2
  exit 1
fi
# The copy gets its final name only when it is complete.
part=$(mktemp --directory "$folder.XXXXXX")
trap 'rm -rf "$part"' EXIT
pg_basebackup --dbname="$DATABASE_URL" --pgdata="$part" --wal-method=stream --checkpoint=fast
pg_verifybackup --quiet "$part"
mv --no-target-directory "$part" "$folder"
