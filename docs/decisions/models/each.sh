#!/bin/sh
# each.sh shards | append_many | client_ids | restore: runs this model with all rules, then without each of them, and
# prints the bounds and the number of states of each run, and the shortest trace for each violation. Each run has 30 s;
# the whole needs some minutes. The complete searches of client_ids need SECONDS_EACH=200.
cd "$(dirname "$0")" || exit 1
model=${1:?usage: each.sh shards|append_many|client_ids|restore}
run() { nice -n 19 python3 "$model.py" "$@" --seconds "${SECONDS_EACH:-30}"; }
shards() {
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
}
append_many() {
 run --compare --senders 0,1/2
 run --compare --senders 0,1/2,3 --no-receiver
 run --compare --senders 0/1/2 --no-receiver
 run --compare --senders 0/1 --discs 1 --crashes 1
 run --compare --senders 0/1 --attempts 2 --no-receiver --crashes 1
 run --compare --senders 0,1/2 --odd 0 --tail 1 --batch 2
 run --compare --senders 0/1 --attempts 2 --ticks 2 --no-receiver
 run --compare --senders 0/1 --faults 1
 run --compare --senders 0,1/2 --faults 1 --kinds e --no-receiver
 run --compare --senders 0/1 --attempts 2 --faults 1 --kinds ke --no-receiver
 run --compare --senders 0 --attempts 2 --faults 2 --no-receiver
 run --senders 0,1/2,3 --attempts 3 --faults 2 --crashes 1 --discs 2 --ticks 2 --batch 2 --walk "${SECONDS_EACH:-30}" --seed 1
 run --senders 0,1/2/3 --odd 1 --attempts 2 --faults 3 --crashes 2 --discs 1 --tail 1 --walk "${SECONDS_EACH:-30}" --seed 2
 while read -r rules bounds; do
  run $bounds --without "$rules"
 done <<END
 lane_stops --senders 0,1 --odd 0 --no-receiver
 stop_room --senders 0,1 --odd 0 --no-receiver
 group_end --senders 0,1 --attempts 2 --faults 1 --kinds k --no-receiver
 group_epoch --senders 0/1 --attempts 2 --faults 1 --kinds e --no-receiver
 checks_first --senders 0/1 --odd 1 --no-receiver
 taken --senders 0 --attempts 2 --no-receiver
 earlier --senders 0/1 --attempts 2 --ticks 1 --no-receiver
 begun --senders 0 --attempts 2 --ticks 1 --no-receiver
 newest --senders 0 --attempts 2 --ticks 2 --no-receiver
 seeded --senders 0 --faults 1 --kinds s --no-receiver
 own_id --senders 0,1/2
 own_id,whole --senders 0/1
 readable --senders 0,1/2
 readable,sweep --senders 0/1
 unique --senders 0 --attempts 2 --faults 2 --kinds e --no-receiver
END
}
client_ids() {
 # The rules of the previous versions, with each wrong clock.
 run --old --jumps 1 --offsets 0,9
 run --old --jumps 2 --offsets 0,24
 run --old --gateway -4
 run --old --clients 6
 # The present rules.
 run --jumps 1
 run --jumps 2 --offsets 0,24
 run --jumps 2 --offsets 0,9 --clients 6
 run --jumps 2 --offsets 0,24 --clients 6 --time 14 --fillers 2
 run --jumps 2 --offsets 0,-8 --fillers 2
 run --clients 6 --time 14
 run --clients 24 --time 14
 run --clients -8 --time 14 --attempts 3
 run --clients 0,6 --fillers 1 --time 8
 run --restarts 1 --clients 6 --time 12 --fillers 2
 run --restarts 1 --jumps 1 --offsets 0,9
 run --restarts 1 --loss
 run --restarts 1 --loss --cold
 run --restarts 1 --image --fillers 2
 run --fresh --time 16 --attempts 1
 run --mixed
 run --mixed --jumps 2 --offsets 0,24 --time 9
 # Without a rule.
 while read -r rules bounds; do
  run $bounds --without "$rules"
 done <<END
 one_clock --gateway -4
 one_clock --clients 6
 by_count --jumps 2 --offsets 0,24
 floor --clients 6 --jumps 2 --offsets 0,24 --time 14
 ahead --clients 6 --time 14
 limit --clients 6 --time 14
 epoch --restarts 1 --image
 token --clients -8 --jumps 1 --offsets 0,9
 token_epoch --restarts 1 --loss --cold
 begun --clients -8 --jumps 2 --offsets 0,5,9 --fillers 4 --time 8
 unstored --clients -8 --time 12
END
 # What the rules do not cover.
 run --late-first --jumps 1 --offsets 0,9
 run --mixed --clients 6 --time 14
}
restore() {
 run --senders 0 --attempts 2 --faults 0
 run --senders 0,1 --attempts 2 --faults 0 --discs 1
 run --senders 0 --attempts 2 --faults 1 --kinds k --discs 1 --set restore_number=0
 run --senders 0 --attempts 2 --faults 1 --kinds k --discs 1 --set close=0
 run --senders 0,1 --attempts 2 --faults 0 --discs 1 --set restore_base=0
 run --senders 0 --attempts 2 --faults 1 --kinds k --discs 1 --set notice=0
 run --senders 0 --attempts 2 --faults 1 --kinds k --discs 1 --set open_check=0
 run --senders 0 --attempts 2 --faults 1 --kinds k --discs 1 --set restore_exc=0
 run --senders 0 --attempts 2 --faults 1 --kinds k --discs 1 --set number=0
 run --senders 0,1 --attempts 1 --faults 0 --steals 1 --listener 0
 run --senders 0 --attempts 2 --faults 0 --steals 1 --crashes 1 --listener 0
 run --senders 0,1 --attempts 1 --faults 0 --crashes 1 --listener 0
 run --senders 0 --attempts 1 --faults 1 --kinds ke --steals 1 --listener 0
 run --senders 0,1 --attempts 1 --faults 0 --steals 1 --listener 0 --set proof_late=0
 run --senders 0 --attempts 1 --faults 0 --crashes 1 --listener 0 --set proof_again=0
}
"$model"
