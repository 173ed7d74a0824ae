#!/usr/bin/env bash
# Runs the tests of the backups with a real PostgreSQL and pgbackrest: run.sh [TEST...]
# TIDINGS_BIN_DIR: the folder with tidings-migrations. TIDINGS_POSTGRES_BIN: the programs of PostgreSQL 15.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
export PYTHONDONTWRITEBYTECODE=1
PATH=${TIDINGS_POSTGRES_BIN:-/usr/lib/postgresql/15/bin}:$PATH
tests=("$@")
((${#tests[@]})) || tests=(test_plan test_real)
# PostgreSQL refuses to run as root. A user namespace gives another user id without another owner of files.
as_user=()
if ((EUID == 0)); then as_user=(unshare --user --map-user=1000 --map-group=1000); fi
exec "${as_user[@]}" python3 -m unittest -v "${tests[@]}"
