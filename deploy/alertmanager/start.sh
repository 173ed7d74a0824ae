#!/bin/sh
# start.sh RECEIVERS [ARGUMENT...]: joins the shipped routes and the operator's file of receivers, and starts Alertmanager
# with them. Alertmanager has no include. ALERTMANAGER names another program, as in tests.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
receivers=$1
shift
umask 077
# A fixed path: a restart replaces the file.
joined=${TMPDIR:-/tmp}/alertmanager.yml
rm -f "$joined"
cat "$here/routes.yml" "$receivers" >"$joined"
exec "${ALERTMANAGER:-alertmanager}" --config.file="$joined" "$@"
