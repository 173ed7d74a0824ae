#!/usr/bin/env bash
# Writes all that Tidings keeps into one file, while everything runs. DATABASE_URL names the database.
#   deploy/postgres/backup.sh FILE
# Needs pg_dump of the server's version or a later one. docs/OPERATIONS.md tells what a backup holds.
set -euo pipefail

if (($# != 1)) || [[ -z ${DATABASE_URL:-} ]]; then
  echo "usage: DATABASE_URL=postgres://... $0 FILE" >&2
  exit 2
fi
# All that was ever said: for nobody else to read.
umask 077
file=$1
if [[ -e $file ]]; then
  echo "$file is there already" >&2
  exit 1
fi
# A file with this name is whole, or it is not there.
trap 'rm -f "$file.part"' EXIT
pg_dump --format=custom --no-owner --no-privileges --file="$file.part" "$DATABASE_URL"
mv "$file.part" "$file"
