#!/bin/sh
# Runs shards.py with all rules, then without each of them. Each run is limited in time; the whole needs some minutes.
cd "$(dirname "$0")" || exit 1
run() { nice -n 19 python3 shards.py "$@" --seconds "${SECONDS_EACH:-30}"; }
run --sends 2 --faults 2 --kinds m
run --sends 2 --faults 2 --kinds mo
run --sends 2 --faults 2 --kinds mol
run --sends 2 --faults 2 --kinds mo --swap
run --sends 1 --faults 3 --kinds m
run --sends 2 --faults 1 --kinds mf
run --sends 1 --faults 2 --kinds f --no-receiver
run --sends 1 --faults 2 --kinds mfol --no-receiver
for w in moved_epoch global_numbers partition_row mark mark_check freeze no_follow lost_refill sweep read_process term heartbeat reader_process guard_epoch mark_epoch; do
 case $w in
  moved_epoch) c="--sends 2 --faults 2 --kinds m";;
  global_numbers) c="--sends 2 --faults 2 --kinds ml";;
  partition_row) c="--sends 1 --faults 1 --kinds m";;
  mark) c="--sends 2 --faults 2 --kinds ml";;
  mark_check) c="--sends 1 --faults 2 --kinds m";;
  freeze) c="--sends 2 --faults 1 --kinds m";;
  no_follow) c="--sends 2 --faults 1 --kinds f";;
  lost_refill|sweep) c="--sends 1 --faults 2 --kinds m";;
  read_process) c="--sends 2 --faults 1 --kinds mf";;
  reader_process|guard_epoch|mark_epoch) c="--sends 2 --faults 1 --kinds f";;
  term|heartbeat) c="--sends 2 --faults 2 --kinds f";;
 esac
 [ "$w" = mark ] && w=mark,mark_check
 run $c --without $w
done
