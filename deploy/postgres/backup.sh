#!/usr/bin/env bash
# Writes all stored data of Tidings into one file. The services may run meanwhile. DATABASE_URL names the database.
#   deploy/postgres/backup.sh FILE
# Needs a pg_dump of the server's version or later. docs/OPERATIONS.md describes the contents of a backup.
set -euo pipefail

if (($# != 1)) || [[ -z ${DATABASE_URL:-} ]]; then
  echo "usage: DATABASE_URL=postgres://... $0 FILE" >&2
  exit 2
fi
# The backup holds all messages, so only its owner may read it.
umask 077
file=$1
if [[ -e $file ]]; then
  echo "$file is there already" >&2
  exit 1
fi
# The dump gets its final name only when it is complete.
trap 'rm -f "$file.part"' EXIT
pg_dump --format=custom --no-owner --no-privileges --file="$file.part" "$DATABASE_URL"
mv "$file.part" "$file"
