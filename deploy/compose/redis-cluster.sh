#!/bin/sh
# redis-cluster.sh HOST:PORT...: forms a Redis Cluster of these empty nodes, with one replica for each master, and waits
# until it serves all slots. Forms nothing if the first node already knows the owners of all slots. Runs in the image of
# Redis: see redis-cluster.yaml.
set -eu

REDISCLI_AUTH=$(cat /run/secrets/redis_nodes_password)
export REDISCLI_AUTH
first=$1

state() { redis-cli --user tidings-nodes -h "${first%:*}" -p "${first##*:}" cluster info; }

if ! state | grep -q '^cluster_slots_assigned:16384'; then
  redis-cli --user tidings-nodes --cluster create "$@" --cluster-replicas 1 --cluster-yes
fi
until state | grep -q '^cluster_state:ok'; do
  sleep 1
done
