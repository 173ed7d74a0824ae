#!/usr/bin/env python3
"""Explicit-state model of one room in one partition of a cluster with two shards (decision 55).

Uses memory only. Searches breadth-first over every interleaving with an exact visited set, so the first violation that it
finds has a shortest trace. Each rule is a switch of RULES with a comment; --without takes rules away.
Checked in every state:
  I1  PostgreSQL holds a dense prefix of the room
  I3  a `stored` answer means that the event is in PostgreSQL at that seq
  I5  a receiver that believes to be caught up holds nothing that differs from PostgreSQL
  E   epochs are not opened without end
and at rest:
  I0  if no fault has lost data, every accepted event is stored
  I4  the receiver holds what PostgreSQL holds, and Redis and PostgreSQL have the same head
  L   the system does not stop before it is at rest
Not modelled: client ids and repetitions, roles, several writers, tails of limited length, the split of one batch, and
that Redis forgets the last promotion of a process that has had no replica for an hour (see `term`).

    python3 shards.py --sends 2 --faults 2 --kinds mf
    python3 shards.py --sends 2 --faults 2 --kinds mf --without moved_epoch
"""
import argparse
import sys
import time

RULES = dict(
    moved_epoch="a partition that arrives at another process gets a new epoch (without: it takes the epoch that this process has)",
    global_numbers="epochs of all shards have one sequence of numbers (without: each shard counts for itself)",
    partition_row="open and seed compare the epoch opened last for this partition (without: opened last for any shard)",
    mark="a partition holds its open epoch in a key of its own; open and seed compare it (without: only the process counts)",
    mark_check="a script runs only if its epoch is the one in that key (without: only the epoch in the room's hash counts)",
    freeze="no script runs in a slot that is being moved (without: it runs where the room's hash is)",
    no_follow="a redirected call ends the session (without: the client loads its script at the new owner and goes on)",
    lost_refill="a channel that its shard has ended is lost until it is subscribed and read again (without: only another process counts)",
    sweep="the heads of rooms are compared with Redis at intervals (without: only hints and ended channels count)",
    read_process="a room is read from the process to which the node is subscribed (without: from that of the session)",
    term="a process that is promoted again counts as another one (without: it continues its epoch)",
    heartbeat="the sessions at a demoted process end before it is promoted again (without: they may go on)",
    reader_process="the writer reads a stream from the process of its epoch (without: from any process that has the partition)",
    guard_epoch="a batch is written only in the epoch in which it was read",
    mark_epoch="a watermark answers only in its epoch",
)
MAX_EPOCH = 9


class Violation(Exception):
    pass


def without(pairs, key):
    return tuple(pair for pair in pairs if pair[0] != key)


class Model:
    """A state is a tuple of ten parts:
    pg      (rows, row_epoch, bases)      rows: events in order of seq; bases: (epoch, base) of the room
    opened  (epoch, (run, term), numbers) the epoch opened last for the partition and its process; numbers: of each shard
    procs   per process (shard, state, scripts, data, term)  state: own, mig, no, replica, dead; scripts: epochs whose
            scripts it knows; term: how often it was promoted again; data None | (hash, tail, stream, last_id, stored, mark)   hash None | (seq, epoch)
    place   (owner, target, image)        the process to which the cluster assigns the slot, the target of a move, an
            earlier data of the owner that a replica holds
    gates   per gateway None | (run, epoch)   its session of the partition; persistence is the last one
    waits   events that wait for `stored`: (event, run, epoch, id, seq)
    writer  None | ('read', run, epoch, position) | ('write', run, epoch, records, end) | ('mark', run, epoch, end)
    seed    None | ('read', run, epoch, hash) | ('write', run, epoch, hash, seq, keeps_tail)
    lis     (view, cursor_epoch, fill, run, epoch, seq, lost, queue)   fill None | head to be read from PostgreSQL
    budget  (sends, faults, lossless)
    """

    def __init__(self, rules, sends, faults, kinds, gates, swap, receiver=True):
        self.rules, self.kinds, self.receiver = rules, kinds, receiver
        a, b = (2, 1) if swap else (1, 2)
        if not rules["global_numbers"]:
            a = b = 1
        data = ((0, a), (), (), 0, (0, 0), a)
        procs = ((0, "own", (a,), data, 0), (1, "own", (b,), None, 0))
        self.init = (((), a, ((a, 0),)), (a, (0, 0), (a, b)), procs, (0, None, None), ((0, a),) * gates, (), None, None,
                     ((), a, None, 0, a, 0, False, ()), (sends, faults, True))

    # ---- helpers
    @staticmethod
    def limit(epoch, bases):
        """The seq up to which events of an epoch are valid, or None if no later epoch exists."""
        later = [base for (other, base) in bases if other > epoch]
        return min(later) if later else None

    def serves(self, procs, run):
        """Whether commands for the slot run at this process. While the slot moves, they do not."""
        return procs[run][1] == "own"

    def check(self, state):
        (rows, _, bases), opened, lis = state[0], state[1], state[8]
        if opened[0] > MAX_EPOCH:
            raise Violation("E: epochs are opened without end")
        view, epoch = lis[0], lis[1]
        limit = self.limit(epoch, bases)
        top = min(len(view), len(rows), len(view) if limit is None else limit)
        if view[:top] != rows[:top]:
            raise Violation("I5: receiver at epoch %d holds %s, PostgreSQL has %s" % (epoch, view, rows))

    def at_rest(self, state):
        (rows, row_epoch, _), opened, procs, (owner, target, _), _, _, writer, seed, lis, budget = state
        data = procs[owner][3]
        if target is not None or budget[0] or seed or data is None or not data[0] or not self.serves(procs, owner):
            return False
        epoch = data[0][1]
        if opened[:2] != (epoch, (owner, procs[owner][4] if self.rules["term"] else 0)) or row_epoch != epoch:
            return False
        if writer is None or writer[:3] != ("read", owner, epoch) or writer[3] < data[3]:
            return False
        if not self.receiver:
            return True
        _, _, fill, run, at_epoch, seq, lost, queue = lis
        return fill is None and not lost and not queue and (run, at_epoch, seq) == (owner, epoch, data[0][0])

    def check_rest(self, state, sent):
        rows, data, lis = state[0][0], state[2][state[3][0]][3], state[8]
        if len(rows) != data[0][0]:
            raise Violation("I4: at rest, Redis at %d, PostgreSQL at %d" % (data[0][0], len(rows)))
        if self.receiver and lis[0] != rows:
            raise Violation("I4: at rest, the receiver holds %s, PostgreSQL %s" % (lis[0], rows))
        if state[9][2] and len(rows) != sent:
            raise Violation("I0: nothing was lost, but of %d accepted events %d are stored" % (sent, len(rows)))

    def cluster(self, state, put, proc):
        """What happens to the cluster: a move ends, a process learns of its end, and the faults."""
        _, opened, procs, place, gates, _, _, _, lis, budget = state
        rules, (owner, target, image), (sends, faults, lossless) = self.rules, place, budget
        if target is not None:
            source, arrived = procs[owner], procs[target][3]
            data = source[3]
            if not rules["freeze"] and arrived is not None and data is not None:
                data = arrived[:1] + arrived[1:2] + data[2:]
            gone = proc(owner, state="no", data=None)
            ended = lis
            if self.receiver and lis[3] == owner:
                ended = lis[:3] + ((None,) + lis[4:6] + (True, ()) if rules["lost_refill"] else lis[3:])
            put("the slot has moved to process %d" % target, True, procs=proc(target, gone, state="own", data=data),
                place=(target, None, image), lis=ended)
        for index, (_, condition, _, _, _) in enumerate(procs):
            if index != owner and condition == "own" and procs[index][3] is not None:
                put("process %d learns that it is no longer a master" % index, True,
                    procs=proc(index, state="replica", data=None))
        if faults and target is None and procs[owner][1] == "own":
            spent = (sends, faults - 1, lossless)
            data = procs[owner][3]
            others = [index for index, (_, condition, _, held, _) in enumerate(procs)
                      if index != owner and condition in ("own", "no") and held is None]
            for other in others:
                if "m" in self.kinds:
                    half = procs
                    if not rules["freeze"] and data is not None:
                        half = proc(other, data=(data[0], data[1], (), data[3], (0, 0), data[5]))
                    put("the slot begins to move from process %d to %d" % (owner, other), False,
                        procs=proc(owner, half, state="mig"), place=(owner, other, image), budget=spent)
                if "l" in self.kinds:
                    put("process %d and its data are lost, the slot is given to process %d" % (owner, other), False,
                        procs=proc(other, proc(owner, state="dead", data=None), state="own", data=None),
                        place=(other, None, image), budget=(sends, faults - 1, False))
            if "f" in self.kinds:
                number, shard = len(procs), procs[owner][0]
                for what, copy in (("up-to-date", data), ("older", image)):
                    if what == "older" and (image is None or image == data):
                        continue
                    put("failover to an %s replica: process %d; the old one runs on for some" % (what, number), False,
                        procs=procs + ((shard, "own", (), copy, 0),), place=(number, None, image),
                        budget=(sends, faults - 1, lossless and what == "up-to-date"))
                    for old, (_, condition, _, _, term) in enumerate(procs):
                        used = any(session and session[0] == old for session in gates)
                        if condition == "replica" and procs[old][0] == shard and not (used and rules["heartbeat"]):
                            put("failover to an %s replica: process %d is promoted again" % (what, old), False,
                                procs=proc(old, proc(owner, state="dead", data=None), state="own", data=copy, term=term + 1),
                                place=(old, None, image), budget=(sends, faults - 1, lossless and what == "up-to-date"))
            if "o" in self.kinds:
                shard = 1 - procs[owner][0]
                number = (max(opened[2]) if rules["global_numbers"] else opened[2][shard]) + 1
                numbers = tuple(number if s == shard else old for s, old in enumerate(opened[2]))
                dead = tuple(index for index in others if procs[index][0] == shard)
                now = procs
                for index in dead:
                    now = proc(index, now, state="dead")
                put("failover of the other shard: epoch %d for process %d" % (number, len(procs)), False,
                    opened=opened[:2] + (numbers,), procs=now + ((shard, "no", (number,), None, 0),), budget=spent)
            if "f" in self.kinds and data is not None and data != image:
                put("(a replica holds this data)", False, place=(owner, None, data))

    # ---- successors: (label, whether it is progress, state)
    def successors(self, state):
        pg, opened, procs, place, gates, waits, writer, seed, lis, budget = state
        rules, (rows, row_epoch, bases), (owner, target, image) = self.rules, pg, place
        sends, faults, lossless = budget
        out = []

        def put(label, progress, **new):
            names = ("pg", "opened", "procs", "place", "gates", "waits", "writer", "seed", "lis", "budget")
            out.append((label, progress, tuple(new.get(name, old) for name, old in zip(names, state))))

        def proc(run, now=None, **new):
            names = ("shard", "state", "scripts", "data", "term")
            base = now or procs
            changed = tuple(new.get(name, old) for name, old in zip(names, base[run]))
            return base[:run] + (changed,) + base[run + 1:]

        def gate(index, session):
            return gates[:index] + (session,) + gates[index + 1:]

        # sessions: a node asks PostgreSQL for the epoch of the partition at the process that owns the slot
        for index, session in enumerate(gates):
            if session is not None:
                run, epoch = session
                moved = procs[run][1] in ("no", "dead", "replica") or epoch not in procs[run][2]
                outdated = opened[0] != epoch and run == owner
                parted = run != owner and procs[run][1] == "own"
                if moved and (rules["no_follow"] or procs[run][1] == "dead"):
                    put("node %d: MOVED or no connection, its session ends" % index, True, gates=gate(index, None))
                elif moved and target is None and self.serves(procs, owner):
                    put("node %d: MOVED, loads its script of epoch %d at process %d" % (index, epoch, owner), True,
                        gates=gate(index, (owner, epoch)), procs=proc(owner, scripts=tuple(sorted({*procs[owner][2], epoch}))))
                elif outdated or parted:
                    put("node %d: finds a later epoch or a dead connection, its session ends" % index, True,
                        gates=gate(index, None))
            elif self.serves(procs, owner) and target is None:
                data = procs[owner][3]
                mark = data[5] if data else None
                identity = (owner, procs[owner][4] if rules["term"] else 0)
                known = opened[1] == identity and (rules["partition_row"] or opened[0] == max(opened[2]))
                if known and (mark == opened[0] or not rules["mark"]):
                    put("node %d: session at process %d, epoch %d" % (index, owner, opened[0]), True,
                        gates=gate(index, (owner, opened[0])))
                else:
                    shard = procs[owner][0]
                    number = (max(opened[2]) if rules["global_numbers"] else opened[2][shard]) + 1
                    if not rules["moved_epoch"] and procs[owner][2]:
                        number = max(procs[owner][2])
                    numbers = tuple(max(number, old) if s == shard else old for s, old in enumerate(opened[2]))
                    data = (data or (None, (), (), 0, (0, 0), None))[:5] + (number,)
                    put("node %d: epoch %d opened for process %d" % (index, number, owner), True,
                        opened=(number, identity, numbers), gates=gate(index, (owner, number)),
                        procs=proc(owner, scripts=tuple(sorted({*procs[owner][2], number})), data=data))

        if not rules["partition_row"] and max(opened[2]) == opened[0]:
            shard = 1 - procs[owner][0]
            numbers = tuple(opened[0] + 1 if s == shard else old for s, old in enumerate(opened[2]))
            put("a node opens epoch %d for the other shard again" % (opened[0] + 1), True, opened=opened[:2] + (numbers,))

        # appends
        for index, session in enumerate(gates[:-1]):
            if session is None or not sends:
                continue
            run, epoch = session
            data = procs[run][3]
            runs = self.serves(procs, run)
            if not rules["freeze"] and run == owner and target is not None and procs[run][1] == "mig":
                # Half of the slot has moved: the hash is at the target, the stream is not.
                half = procs[target][3]
                if half and half[0] and half[0][1] == epoch:
                    event = sends
                    seq, last = half[0][0] + 1, half[3] + 1
                    new = ((seq, epoch), half[1] + ((seq, event),), half[2] + ((last, epoch, seq, event),), last) + half[4:]
                    put("node %d: ASK, appends event %d as seq %d at the target" % (index, event, seq), False,
                        procs=proc(target, data=new), budget=(sends - 1, faults, lossless))
            if not runs or epoch not in procs[run][2] or data is None or data[0] is None or data[0][1] != epoch:
                continue
            if rules["mark_check"] and data[5] != epoch:
                continue
            seq, last = data[0][0] + 1, data[3] + 1
            record = (last, epoch, seq, sends)
            new = ((seq, epoch), data[1] + ((seq, sends),), data[2] + (record,), last) + data[4:]
            heard = lis
            if self.receiver and lis[3] == run and not (lis[6] and rules["lost_refill"] and lis[3] is None):
                heard = lis[:7] + (lis[7] + ((epoch, seq, sends),),)
            put("node %d appends event %d as seq %d of epoch %d at process %d" % (index, sends, seq, epoch, run),
                run == owner, procs=proc(run, data=new), lis=heard, waits=waits + ((sends, run, epoch, last, seq),),
                budget=(sends - 1, faults, lossless and run == owner))

        # seeds, for the epoch of a session; persistence writes with its own session
        if seed is None:
            for run, epoch in sorted({session for session in gates if session}):
                data = procs[run][3]
                if not self.serves(procs, run) or epoch not in procs[run][2] or gates[-1] != (run, epoch):
                    continue
                if data is not None and data[0] is not None and data[0][1] == epoch:
                    continue
                open_now = opened[0] if rules["partition_row"] else max(opened[2])
                marked = not rules["mark"] or data is not None and data[5] == epoch
                if epoch != open_now or not marked:
                    ended = tuple(None if session == (run, epoch) else session for session in gates)
                    put("seed for epoch %d refused: it has ended" % epoch, True, gates=ended)
                else:
                    put("seed for epoch %d reads what survived: %s" % (epoch, data and data[0]), True,
                        seed=("read", run, epoch, data and data[0]))
        elif seed[0] == "read":
            _, run, epoch, known = seed
            if epoch < row_epoch:
                put("seed refused: the partition is in a later epoch", True, seed=None)
            else:
                survived = known[0] if known else 0
                limit = self.limit(known[1], without(bases, epoch)) if known else None
                trusted = survived if limit is None else min(survived, limit)
                existing = [base for (other, base) in bases if other == epoch]
                base = existing[0] if existing else max(len(rows), trusted)
                new = bases if existing else bases + ((epoch, base),)
                seq = max(base, len(rows))
                keeps = known is not None and survived == trusted == seq
                put("seed: base of epoch %d is %d" % (epoch, base), True, pg=(rows, epoch, new),
                    seed=("write", run, epoch, known, seq, keeps))
        else:
            _, run, epoch, known, seq, keeps = seed
            data = procs[run][3] or (None, (), (), 0, (0, 0), None)
            marked = not rules["mark"] or data[5] == epoch
            if self.serves(procs, run) and epoch in procs[run][2] and data[0] == known and marked:
                put("seed writes seq %d of epoch %d at process %d" % (seq, epoch, run), True, seed=None,
                    procs=proc(run, data=((seq, epoch), data[1] if keeps else ()) + data[2:]))
            else:
                put("seed not written: the hash, the process or the mark changed", True, seed=None)

        # stored answers
        for wait in waits:
            event, run, epoch, last, seq = wait
            if not rules["mark_epoch"]:
                run = owner
            data = procs[run][3]
            if procs[run][1] == "dead" or data is None:
                continue
            of, end = data[4]
            if end >= last and (of == epoch or not rules["mark_epoch"]):
                if seq > len(rows) or rows[seq - 1] != event:
                    raise Violation("I3: event %d at seq %d is answered stored, PostgreSQL has %s" % (event, seq, rows))
                put("event %d is answered stored" % event, True, waits=tuple(other for other in waits if other != wait))

        # the writer, which uses the session of persistence
        session = gates[-1]
        if writer is None or writer[0] == "read":
            if session and (writer is None or writer[1:3] != session) and session[1] >= row_epoch:
                run, epoch = session
                data = procs[run][3]
                if self.serves(procs, run) and data is not None:
                    position = data[4][1] if data[4][0] == epoch else 0
                    put("writer settles in epoch %d after %d" % (epoch, position), True,
                        pg=(rows, epoch, bases), writer=("read", run, epoch, position))
        if writer is not None and writer[0] == "read":
            _, run, epoch, position = writer
            sources = [run] if rules["reader_process"] else range(len(procs))
            for source in sources:
                data = procs[source][3]
                if data is None or procs[source][1] != "own":
                    continue
                records = tuple(record for record in data[2] if record[0] > position)
                if records:
                    put("writer reads %s from process %d" % ([r[1:] for r in records], source), source == owner,
                        writer=("write", run, epoch, records, records[-1][0]))
        elif writer is not None and writer[0] == "write":
            _, run, epoch, records, end = writer
            if row_epoch != epoch and rules["guard_epoch"]:
                put("writer: the partition is in another epoch, rolls back", True, writer=None)
            else:
                now = list(rows)
                for _, of, seq, event in records:
                    limit = self.limit(of, bases)
                    if limit is not None and seq > limit or seq <= len(now):
                        continue
                    if seq != len(now) + 1:
                        raise Violation("I1: the writer gets seq %d of epoch %d, PostgreSQL ends at %d" % (seq, of, len(now)))
                    now.append(event)
                put("writer commits up to %d: %s" % (end, now), True, pg=(tuple(now), row_epoch, bases),
                    writer=("mark", run, epoch, end))
        elif writer is not None:
            _, run, epoch, end = writer
            data = procs[run][3]
            allowed = data is not None and data[4][0] <= epoch and (data[5] == epoch or not rules["mark_check"])
            # The session that has read the records may have ended meanwhile.
            allowed = allowed and gates[-1] == (run, epoch)
            if self.serves(procs, run) and epoch in procs[run][2] and allowed:
                kept = tuple(record for record in data[2] if record[0] >= end)
                put("writer: watermark (%d, %d) at process %d" % (epoch, end, run), True, writer=("read", run, epoch, end),
                    procs=proc(run, data=data[:2] + (kept, data[3], (epoch, end), data[5])))
            else:
                put("writer: the watermark is refused, settles again", True, writer=None)

        self.cluster(state, put, proc)
        if not self.receiver:
            return out

        # the receiver and its node, which uses the session of gateway 0
        view, cursor, fill, run, at_epoch, at_seq, lost, queue = lis
        if (run is None or run != owner) and target is None and self.serves(procs, owner):
            put("the receiver's node subscribes at process %d" % owner, True,
                lis=(view, cursor, fill, owner, at_epoch, at_seq, True, ()))
        if queue and not lost:
            (epoch, seq, event), rest = queue[0], queue[1:]
            if epoch == at_epoch and seq == at_seq + 1:
                if fill is None and seq == len(view) + 1:
                    put("the receiver gets seq %d live" % seq, True, lis=(view + (event,), cursor, None, run, epoch, seq, False, rest))
                else:
                    put("a live event causes a refill", True, lis=(view, cursor, fill, run, at_epoch, at_seq, True, rest))
            else:
                put("a hint of another place causes a refill", True,
                    lis=(view, cursor, fill, run, at_epoch, at_seq, epoch > at_epoch or seq > at_seq + 1, rest))
        session = gates[0]
        if session is not None and run is not None and not lost and fill is None and rules["sweep"]:
            data = procs[session[0]][3]
            if self.serves(procs, session[0]) and data and data[0] and not queue and data[0] != (at_seq, at_epoch):
                put("the sweep finds another head", True, lis=lis[:6] + (True, ()))
        if lost and session is not None and run is not None and (session[0] == run or not rules["read_process"]):
            data = procs[session[0]][3]
            if self.serves(procs, session[0]) and data and data[0] and data[0][1] == session[1] >= at_epoch:
                head, epoch = data[0]
                bad = self.limit(cursor, bases)
                kept = view if bad is None else view[:bad]
                tail = dict(data[1])
                missing = range(len(kept) + 1, head + 1)
                if all(seq in tail for seq in missing):
                    put("the receiver is caught up from the tail at (%d, %d)" % (epoch, head), True,
                        lis=(kept + tuple(tail[seq] for seq in missing), epoch, None, run, epoch, head, False, ()))
                else:
                    put("the receiver gets a gap after %d up to %d" % (len(kept), head), True,
                        lis=(kept, epoch, head, run, epoch, head, False, ()))
        if fill is not None and len(rows) >= fill:
            put("the receiver reads up to %d over HTTP" % len(rows), True,
                lis=(view + rows[len(view):], cursor, None, run, at_epoch, len(view + rows[len(view):]), True, ()))

        return out


def explore(model, sends, seconds):
    began, depth, quiet = time.time(), 0, 0
    parent = {model.init: None}
    front = [model.init]

    def trace(state):
        labels = []
        while parent[state] is not None:
            state, label = parent[state]
            labels.append(label)
        return labels[::-1]

    while front:
        following = []
        for state in front:
            try:
                after = model.successors(state)
                if model.at_rest(state):
                    quiet += 1
                    model.check_rest(state, sends)
                elif not any(progress for _, progress, _ in after):
                    raise Violation("L: the system stops before it is at rest")
            except Violation as violation:
                return len(parent), depth, quiet, str(violation), trace(state), False
            for label, _, new in after:
                if new not in parent:
                    parent[new] = (state, label)
                    try:
                        model.check(new)
                    except Violation as violation:
                        return len(parent), depth + 1, quiet, str(violation), trace(new), False
                    following.append(new)
            if time.time() - began > seconds:
                return len(parent), depth, quiet, None, (), False
        front = following
        depth += 1
    return len(parent), depth, quiet, None, (), True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sends", type=int, default=2)
    parser.add_argument("--faults", type=int, default=2)
    parser.add_argument("--kinds", default="mf", help="m the slot moves, f failover of its shard, o of the other shard, l its shard is lost")
    parser.add_argument("--gates", type=int, default=2, help="nodes with a session, the last one is persistence")
    parser.add_argument("--swap", action="store_true", help="the other shard has the lower epoch at first")
    parser.add_argument("--no-receiver", action="store_true", help="leave the receiver out, for larger bounds of the rest")
    parser.add_argument("--without", default="", help="rules to take away: " + ", ".join(RULES))
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    removed = [rule for rule in arguments.without.split(",") if rule]
    assert all(rule in RULES for rule in removed), removed
    rules = {rule: rule not in removed for rule in RULES}
    model = Model(rules, arguments.sends, arguments.faults, arguments.kinds, arguments.gates, arguments.swap, not arguments.no_receiver)
    began = time.time()
    states, depth, quiet, found, labels, complete = explore(model, arguments.sends, arguments.seconds)
    verdict = "VIOLATION " + found if found else ("clean, complete" if complete else "clean so far, NOT complete")
    print("%s | states %d, depth %d, at rest %d, %.0f s | %s"
          % (" ".join(sys.argv[1:]), states, depth, quiet, time.time() - began, verdict))
    for number, label in enumerate(labels):
        print("  %2d %s" % (number + 1, label))


if __name__ == "__main__":
    main()
