#!/usr/bin/env bash
# secrets.sh [FOLDER]: makes the secrets of deploy/compose.yaml, those that are not there yet. Never prints one.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/secrets}
mkdir -p "$folder"
# Compose hands files over as they are: the users in the containers, who are not ours, must be able to read them. The
# folder itself lets nobody else in.
chmod 0700 "$folder"

# Of letters and digits: it stands in addresses.
random() { od -An -v -tx1 -N 24 /dev/urandom | tr -d ' \n'; }

# Text from standard input, unless it was made already.
make() {
  local file=$folder/$1
  if [[ -s $file ]]; then
    # Whoever writes must not be cut off.
    cat >/dev/null
    return
  fi
  cat >"$file"
  chmod 0444 "$file"
  echo "made $1" >&2
}

for password in postgresql_password postgresql_owner_password postgresql_service_password redis_gateway_password \
  redis_persistence_password internal_secret jwt_secret grafana_password; do
  random | make "$password"
done

# The users that are shipped, with passwords in place of the hashes that no password has.
users=$(<"$here/../redis/users.acl")
for service in gateway persistence; do
  password=$(cat "$folder/redis_${service}_password")
  users=$(sed -E "s/^(user tidings-$service on) #0+ /\1 >$password /" <<<"$users")
  make "redis_${service}_url" <<<"redis://tidings-$service:$password@redis:6379/"
done
make redis_acl <<<"$users"
make database_url <<<"postgres://tidings_service:$(cat "$folder/postgresql_service_password")@postgresql:5432/tidings"
make database_owner_url <<<"postgres://tidings_owner:$(cat "$folder/postgresql_owner_password")@postgresql:5432/tidings"

# A certificate that nobody else trusts, for localhost: to be replaced by a real one, chain first, key last.
if [[ ! -s $folder/certificate ]]; then
  openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$folder/certificate.key" -out "$folder/certificate.crt" 2>/dev/null
  cat "$folder/certificate.crt" "$folder/certificate.key" | make certificate
  rm -f "$folder/certificate.crt" "$folder/certificate.key"
fi
