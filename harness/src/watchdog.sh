# Reads one order per line from the owner's pipe. When the pipe closes, ends everything on the list.
#   + SIGNAL PID   end PID with SIGNAL when the owner is gone      - SIGNAL PID   take it off the list
#   d FOLDER       remove FOLDER when the owner is gone
# A zombie counts as ended, because in a container no process may reap it.
trap '' INT TERM HUP QUIT
servers=
while IFS= read -r line; do
  rest=${line#? }
  case $line in
    '+ '*) servers="$servers ${rest% *}:${rest#* }" ;;
    '- '*)
      kept=
      for server in $servers; do
        [ "$server" = "${rest% *}:${rest#* }" ] || kept="$kept $server"
      done
      servers=$kept
      ;;
    'd '*) set -- "$@" "$rest" ;;
  esac
done
alive() {
  command=
  IFS= read -r command 2>/dev/null <"/proc/$1/cmdline"
  [ -n "$command" ]
}
for server in $servers; do
  kill "-${server%:*}" "${server#*:}" 2>/dev/null
  kill -CONT "${server#*:}" 2>/dev/null
done
for server in $servers; do
  tries=50
  while [ "$tries" -gt 0 ] && alive "${server#*:}"; do
    sleep 0.1
    tries=$((tries - 1))
  done
  alive "${server#*:}" && kill -KILL "${server#*:}" 2>/dev/null
done
for folder in "$@"; do
  rm -rf "$folder"
done
