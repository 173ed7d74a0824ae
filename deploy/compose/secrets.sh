#!/usr/bin/env bash
# secrets.sh [FOLDER]: creates the missing secrets for deploy/compose.yaml and deploy/compose/redis-cluster.yaml. Never
# prints a secret.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$here/secrets}
mkdir -p "$folder"
# Compose mounts the files unchanged, and the containers run as other users, who must be able to read them. The mode of
# the folder keeps all other users out.
chmod 0700 "$folder"

# A random secret of letters and digits, because some secrets become part of URLs.
random() { od -An -v -tx1 -N 24 /dev/urandom | tr -d ' \n'; }

# Writes standard input to a new secret. Keeps a secret that exists already.
make() {
  local file=$folder/$1
  if [[ -s $file ]]; then
    # The owner may write into a secret to replace it (docs/OPERATIONS.md).
    chmod 0644 "$file"
    # Reads all input, because the writing process would get SIGPIPE otherwise.
    cat >/dev/null
    return
  fi
  cat >"$file"
  chmod 0644 "$file"
  echo "created $1" >&2
}

for password in postgresql_password postgresql_owner_password postgresql_service_password \
  postgresql_monitoring_password postgresql_backup_password redis_gateway_password redis_persistence_password \
  redis_push_password redis_monitoring_password redis_nodes_password internal_secret jwt_secret grafana_password \
  files_secret; do
  random | make "$password"
done

# The users in the ACL file of Redis get these passwords instead of the placeholder hashes.
users=$(<"$here/../redis/users.acl")
for service in gateway persistence push; do
  password=$(cat "$folder/redis_${service}_password")
  users=$(sed -E "s/^(user tidings-$service on) #0+ /\1 >$password /" <<<"$users")
  make "redis_${service}_url" <<<"redis://tidings-$service:$password@redis:6379/"
  make "redis_${service}_cluster_url" <<<"redis+cluster://tidings-$service:$password@redis:6379,redis-2:6379,redis-3:6379"
done
password=$(cat "$folder/redis_monitoring_password")
users=$(sed -E "s/^(user tidings-monitoring on) #0+ /\1 >$password /" <<<"$users")
# The exporter finds the password of a Redis by its address. The further addresses are those of redis-cluster.yaml.
for host in redis 10.213.47.{11..16}; do
  printf '"redis://tidings-monitoring@%s:6379": "%s"\n' "$host" "$password"
done | paste -sd, | sed 's/.*/{&}/' | make redis_exporter_passwords
make redis_acl <<<"$users"
# The user with which the nodes of a cluster copy data, and with which the cluster is formed and changed.
password=$(cat "$folder/redis_nodes_password")
make redis_cluster_acl <<<"$users"$'\n'"user tidings-nodes on >$password ~* &* +@all"
make redis_cluster_conf <<<"masteruser tidings-nodes"$'\n'"masterauth $password"
make database_url <<<"postgres://tidings_service:$(cat "$folder/postgresql_service_password")@postgresql:5432/tidings"
make database_owner_url <<<"postgres://tidings_owner:$(cat "$folder/postgresql_owner_password")@postgresql:5432/tidings"

# The key that identifies this installation to push services: the 32 bytes of a private key on the curve P-256.
if [[ ! -s $folder/vapid_key ]]; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -outform PEM |
    openssl ec -outform DER 2>/dev/null | tail -c +8 | head -c 32 | base64 | tr '/+' '_-' | tr -d '=\n' | make vapid_key
fi

# The password of the repository of backups. Without this file no backup can be read: keep a copy elsewhere.
mkdir -p "$folder/pgbackrest"
chmod 0755 "$folder/pgbackrest"
make pgbackrest/cipher.conf <<<"[global]"$'\n'"repo1-cipher-type=aes-256-cbc"$'\n'"repo1-cipher-pass=$(random)"

# A self-signed certificate for localhost. Replace it with a real one: the chain first, the key last. HAProxy reads all
# files of the folder. An earlier version had the certificate in one file.
mkdir -p "$folder/certificates"
chmod 0755 "$folder/certificates"
if [[ -s $folder/certificate && ! -e $folder/certificates/localhost.pem ]]; then
  mv "$folder/certificate" "$folder/certificates/localhost.pem"
fi
if [[ -z $(ls "$folder/certificates") ]]; then
  openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -keyout "$folder/certificate.key" -out "$folder/certificate.crt" 2>/dev/null
  cat "$folder/certificate.crt" "$folder/certificate.key" | make certificates/localhost.pem
  rm -f "$folder/certificate.crt" "$folder/certificate.key"
fi
# The certificate without its key, which the probe trusts beside the public authorities.
certificates=("$folder"/certificates/*)
openssl x509 -in "${certificates[0]}" | make probe_ca
if openssl x509 -in "${certificates[0]}" -noout -text | grep -q CA:TRUE; then
  echo "the probe refuses ${certificates[0]}, the certificate of an authority: delete it and probe_ca, and run this again" >&2
fi
