#!/usr/bin/env python3
"""Explicit-state model of one room of the log, with calls that append the messages of several senders (decision 36).

A sender hands its messages to a lane of a gateway. append.lua appends the first message of a lane alone. The lane may
also hand a group of messages to the batcher, and one call of append_many.lua appends the groups of several lanes.
Around it is the core of the log: epochs and seeds, client ids in windows, look-ups, the writer with its watermark and
its exceptions, void rows, and a receiver with notices, tail, gaps and HTTP. Faults: Redis restarts, comes back empty or
in an earlier state; the writer crashes; the receiver disconnects; the clock moves to another window of client ids.
Uses memory only. Searches breadth-first over every interleaving with an exact visited set, so the first violation that
it finds has a shortest trace. Each rule is a switch of RULES with a comment; --without takes rules away.
Checked in every state or step:
  I1  PostgreSQL holds a dense prefix of the room
  I2  at most one living event has a client id
  I3  a `stored` answer means that the event is in PostgreSQL at that seq
  I5  a receiver that believes to be caught up holds nothing that differs from PostgreSQL
  O   no message overtakes an earlier message of its lane
  V   a client id is stored twice (one event is then void) only if Redis lost data; a stored message is appended again
      only after a look-up, or by a late first attempt
and at rest:
  I0  if Redis has lost nothing, every accepted event is stored
  I4  the receiver holds what PostgreSQL holds, and Redis and PostgreSQL have the same head
  L   every sender can be answered, and the system does not stop before it is at rest
--compare searches with and without calls of many messages, and checks that calls reach no other states. For that, a
group that waits for its call counts as waiting in its lane, and a notice of several records as several notices.
Not modelled: several rooms, roles, erasure, changes of messages, an old process that stays reachable, two writers or
two seeds at a time, removal of old windows, ages (a retry needs a look-up if an epoch was opened after its first attempt).
--odd names messages that only append.lua decides; it appends or refuses them. They stand for slow mode, archived rooms,
roles, erasure and a full backlog.

    python3 append_many.py --senders 0,1/2 --attempts 1 --faults 1
    python3 append_many.py --senders 0,1/2 --odd 0 --without lane_stops
"""
import argparse
import itertools
import random
import sys
import time

RULES = dict(
    lane_stops="a lane goes on only after the final answer to its first message (without: it goes on with any message)",
    stop_room="a call appends no message behind one that it does not decide (without: it leaves out only this one)",
    group_end="a message that needs a look-up ends the group (without: the messages behind it go before it)",
    group_epoch="a group is appended only in the epoch in which it was formed (without: in any epoch)",
    checks_first="every check of a call comes before its first write (without: it moves the head by all its messages first)",
    taken="a call compares client ids with those of its own messages (without: only with those in Redis)",
    earlier="a call compares client ids of the earlier windows (without: only of the present window)",
    begun="a call needs a window that append.lua has begun (without: it writes to one that is not in the list)",
    newest="a call needs the newest window (without: after the clock was set back, it writes to the window before)",
    seeded="a call needs a hash of the present epoch (without: it appends to the hash that it finds)",
    own_id="each record has an ingest id of its own (without: all records of a call have the same; not in the code)",
    whole="a batch of the writer ends between two ingest ids (matters only without own_id)",
    readable="the gateway reads a notice of several records (without: as an older version, it drops such a notice)",
    sweep="the heads of rooms are compared with Redis at intervals (without: only notices count)",
    unique="PostgreSQL stores a client id once; a copy becomes a void row (without: it is stored)",
)
NAMES = ("pg", "redis", "image", "writer", "lanes", "msgs", "lis", "misc")


class Violation(Exception):
    pass


def limit(epoch, bases):
    """The seq up to which events of an epoch are valid, or None if no later epoch exists."""
    return min((base for other, base in bases if other > epoch), default=None)


def pending_voids(rows):
    told = {row[1] for row in rows if row[0] == "v"}
    return [seq for seq, row in enumerate(rows, 1) if row[0] == "x" and seq not in told]


class Model:
    """A state is a tuple of eight parts:
    pg      (rows, row_epoch, bases)   rows: ('m', client id, copy) | ('x', ...) void | ('v', seq) voids the row at seq
    redis   (hash, tail, windows, stream, last_id, stored, exceptions)   hash: None | (seq, epoch, bases)
            windows: (number, entries, whether it is in the list)   entry: (key, seq, copy, ingest id, epoch)
    image   None | an earlier redis
    writer  None | ('read', epoch, position) | ('write', epoch, records) | ('mark', epoch, end, exceptions)
    lanes   per sender (number of messages sent, attempts, lane, lanes of earlier attempts)
            lane: (client ids, those that were looked up and ~id of those in their first attempt, group, overtaken up to)
            group: None | (client ids, epoch)
    msgs    per client id (copies, epoch at its first attempt, answer)   answer: None | 'final' | (epoch, id, seq, copy)
    lis     None | (view, cursor_epoch, fill, epoch, seq, lost, notices)   lost: 0, 1 must read again, 2 not subscribed
    misc    (epoch of the process or 0, last epoch, window of the clock, highest ingest id, seed, lossless, budget)
            budget: (faults, crashes, disconnects, moves of the clock)
    """

    def __init__(self, rules, many, options):
        self.rules, self.many, self.opt = rules, many, options
        self.senders = [tuple(map(int, part.split(","))) for part in options.senders.split("/")]
        self.odd = {int(part) for part in options.odd.split(",") if part}
        count = sum(map(len, self.senders))
        redis = ((0, 1, ((1, 0),)), (), ((1, (), True),), (), 0, (1, 0), ())
        lis = None if options.no_receiver else ((), 1, None, 1, 0, 0, ())
        budget = (options.faults, options.crashes, options.discs, options.ticks)
        self.init = (((), 1, ((1, 0),)), redis, None, ("read", 1, 0), ((0, 1, ((), (), None, -1), ()),) * len(self.senders),
                     ((0, 1, None),) * count, lis, (1, 1, 1, 0, None, True, budget))

    # ---- checks
    def check(self, state):
        rows, _, bases = state[0]
        living = [row[1] for row in rows if row[0] == "m"]
        if len(living) != len(set(living)):
            raise Violation("I2: a client id is living twice in %s" % (rows,))
        if state[6]:
            view, cursor = state[6][:2]
            top = limit(cursor, bases)
            for seq, (held, row) in enumerate(zip(view[:top], rows), 1):
                if held != row and (row[0], held[0]) != ("x", "m") or held[1:] != row[1:]:
                    raise Violation("I5: the receiver holds %s at %d, PostgreSQL has %s" % (held, seq, row))

    def ready(self, state):
        return state[1][0] is not None and state[1][0][1] == state[7][0]

    def at_rest(self, state):
        (rows, row_epoch, _), redis, _, writer, lanes, _, lis, misc = state
        if not self.ready(state) or misc[4] or writer is None or writer[:2] != ("read", misc[0]) or row_epoch != misc[0]:
            return False
        if redis[3] and redis[3][-1][0] > writer[2] or redis[5] != (misc[0], writer[2]) and redis[3] or pending_voids(rows):
            return False
        if any(lane[0] for _, _, live, stale in lanes for lane in (live,) + stale):
            return False
        return lis is None or not (lis[2] or lis[5] or lis[6]) and (
            (lis[4], lis[3]) == redis[0][:2] or not self.rules["sweep"])

    def check_rest(self, state):
        rows, redis, msgs, lis, misc = state[0][0], state[1], state[5], state[6], state[7]
        if len(rows) != redis[0][0]:
            raise Violation("I4: at rest, Redis is at %d, PostgreSQL at %d" % (redis[0][0], len(rows)))
        if lis:
            gone = {event[1] for event in lis[0] if event[0] == "v"}
            shown = [(seq,) + e[1:] for seq, e in enumerate(lis[0], 1) if e[0] == "m" and seq not in gone]
            if shown != [(seq,) + row[1:] for seq, row in enumerate(rows, 1) if row[0] == "m"]:
                raise Violation("I4: at rest, the receiver shows %s, PostgreSQL has %s" % (shown, rows))
        if misc[5]:
            stored = {row[1:] for row in rows if row[0] in "mx"}
            for client_id, (copies, _, _) in enumerate(msgs):
                if any((client_id, copy) not in stored for copy in range(copies)):
                    raise Violation("I0: nothing was lost, message %d is accepted and not stored" % client_id)
        for client_id, (_, _, answer) in enumerate(msgs):
            if isinstance(answer, tuple) and answer[0] == misc[0] and redis[5] < answer[:2]:
                raise Violation("L: at rest, the sender of %d waits for ever" % client_id)

    # ---- Redis
    @staticmethod
    def find(windows, key, bases):
        """The entry of a client id whose event has survived; as append.lua reads it."""
        for _, entries, listed in windows:
            for entry in entries if listed else ():
                top = limit(entry[4], bases)
                if entry[0] == key and (top is None or entry[1] <= top):
                    return entry
        return None

    def unknown(self, windows, now, key):
        """Whether append_many.lua finds no entry of a client id; None if append.lua must decide."""
        at = next((index for index, window in enumerate(windows) if window[0] == now), None)
        if (at is None or not windows[at][2]) and self.rules["begun"] or at is not None and at + 1 < len(windows) and self.rules["newest"]:
            return None
        read = [] if at is None else windows[:at + 1] if self.rules["earlier"] and windows[at][2] else windows[at:at + 1]
        return all(entry[0] != key for _, entries, _ in read for entry in entries)

    def append(self, redis, events, now, by_many):
        """Appends events (key, event) to the room with one notice. Returns redis, the records and the notice."""
        (seq, epoch, bases), tail, windows, stream, last, stored, exceptions = redis
        number = now
        if not by_many:
            ends = [window[0] for window in windows if window[2]]
            number = min(max(now, ends[-1]), now + 1) if ends else now
        records, entries = [], []
        for index, (key, event) in enumerate(events):
            seq += 1
            last += 1 if self.rules["own_id"] or index == 0 else 0
            records.append((last, epoch, seq, event))
            entries.append((key, seq, event[2] if event[0] == "m" else 0, last, epoch))
        at = next((index for index, window in enumerate(windows) if window[0] == number), None)
        keys = {entry[0] for entry in entries}
        old, listed = (windows[at][1], windows[at][2]) if at is not None else ((), False)
        new = (number, tuple(sorted([e for e in old if e[0] not in keys] + entries, key=repr)), listed or not by_many)
        windows = windows + (new,) if at is None else windows[:at] + (new,) + windows[at + 1:]
        tail = (tail + tuple((record[2], record[3]) for record in records))[-self.opt.tail:]
        redis = ((seq, epoch, bases), tail, windows, stream + tuple(records), last, stored, exceptions)
        return redis, records, tuple(record[1:] for record in records)

    # ---- successors: (label, whether it is progress, state)
    def successors(self, state):
        out = []

        def put(label, progress, **new):
            out.append((label, progress, tuple(new.get(name, old) for name, old in zip(NAMES, state))))

        self.send(state, put)
        self.store(state, put)
        self.recover(state, put)
        if state[6]:
            self.receive(state, put)
        return out

    def send(self, state, put):
        (rows, _, _), redis, _, _, lanes, msgs, lis, misc = state
        rules, (epoch, last_epoch, now, *_), ready = self.rules, misc, self.ready(state)

        def with_lanes(sender, changed, lanes=lanes):
            """Replaces lanes of a sender; index -1 is the one of the present attempt."""
            count, attempts, live, stale = lanes[sender]
            new = [live, *stale]
            for index, lane in changed.items():
                overtaken = lane[0] and lane[3] > lane[0][0]
                new[index + 1] = lane if overtaken else lane[:3] + (-1,)
            stale = tuple(sorted((lane for lane in new[1:] if lane[0]), key=repr))
            return lanes[:sender] + ((count, attempts, new[0], stale),) + lanes[sender + 1:]

        def needs_no_look_up(lane, client_id):
            """A first attempt needs none, and a message that was sent in the present epoch: Redis remembers it."""
            return epoch <= msgs[client_id][1] or ~client_id in lane[1]

        def with_msg(msgs, client_id, index, answer=None, copies=0):
            old = msgs[client_id]
            new = (old[0] + copies, old[1], answer if index < 0 and old[2] != "final" else old[2])
            return msgs[:client_id] + (new,) + msgs[client_id + 1:]

        def without(lane, client_id, appended):
            if appended and lane[3] > client_id:
                raise Violation("O: message %d is appended, a later message of its lane already was" % client_id)
            left = tuple(c for c in lane[0] if c != client_id), tuple(c for c in lane[1] if c not in (client_id, ~client_id))
            return left + (lane[2], max(lane[3], client_id) if appended else lane[3])

        def appended(redis, events, by_many):
            """The redis, records, receiver and misc after an append. `events`: (client id, its lane)."""
            named = []
            for client_id, lane in events:
                looked = client_id in lane[1] or ~client_id in lane[1]
                if not looked and any(row[:2] == ("m", client_id) for row in rows):
                    raise Violation("V: message %d is stored, and is appended again without a look-up" % client_id)
                copy = msgs[client_id][0] + sum(key == client_id for key, _ in named)
                named.append((client_id, ("m", client_id, copy)))
            after, records, notice = self.append(redis, named, now, by_many)
            return after, records, self.heard(lis, notice), self.grown(misc, after)

        waiting = []
        for sender, (count, attempts, live, stale) in enumerate(lanes):
            ids = self.senders[sender]
            if count < len(ids):
                lane = (live[0] + (ids[count],), tuple(sorted(live[1] + (~ids[count],)))) + live[2:]
                new = (0, last_epoch, None)
                put(("message %d is sent", ids[count]), False, msgs=msgs[:ids[count]] + (new,) + msgs[ids[count] + 1:],
                    lanes=lanes[:sender] + ((count + 1, attempts, lane, stale),) + lanes[sender + 1:])
            open_ids = tuple(c for c in ids[:count] if msgs[c][2] != "final")
            if open_ids and attempts < self.opt.attempts:
                kept = tuple(sorted(stale + ((live,) if live[0] else ()), key=repr))
                cleared = msgs
                for client_id in open_ids:
                    cleared = with_msg(cleared, client_id, -1)
                put(("sender %d retries %s through another gateway", sender, open_ids), False, msgs=cleared,
                    lanes=lanes[:sender] + ((count, attempts + 1, (open_ids, (), None, -1), kept),) + lanes[sender + 1:])
            for index, lane in enumerate((live,) + stale, -1):
                items, looked, group, _ = lane
                who = "lane of sender %d" % sender if index < 0 else "old lane of sender %d" % sender
                held = group[0] if group else ()
                free = [c for c in items if c not in held]
                if rules["lane_stops"]:
                    free = free[:1] if not group else []
                if group:
                    waiting.append((sender, index, lane))
                elif self.many and items and epoch:
                    fast = [c for c in items if needs_no_look_up(lane, c)]
                    if rules["group_end"]:
                        fast = list(itertools.takewhile(lambda c: needs_no_look_up(lane, c), items))
                    if fast:
                        put(("%s: group %s of epoch %d", who, fast, epoch), True,
                            lanes=with_lanes(sender, {index: (items, looked, (tuple(fast), epoch), lane[3])}))
                for client_id in free if ready else ():
                    known = self.find(redis[2], client_id, redis[0][2])
                    left = with_lanes(sender, {index: without(lane, client_id, False)})
                    if known:
                        put(("%s: append.lua knows %d at seq %d", who, client_id, known[1]), True, lanes=left,
                            msgs=with_msg(msgs, client_id, index, (epoch, known[3], known[1], known[2])))
                        continue
                    if client_id not in looked and not needs_no_look_up(lane, client_id):
                        if any(row[:2] == ("m", client_id) for row in rows):
                            put(("%s: the look-up finds %d", who, client_id), True, lanes=left,
                                msgs=with_msg(msgs, client_id, index, "final"))
                        else:
                            put(("%s: the look-up does not find %d", who, client_id), True, lanes=with_lanes(
                                sender, {index: (items, tuple(sorted(looked + (client_id,))), group, lane[3])}))
                        continue
                    if client_id in self.odd:
                        put(("%s: append.lua refuses %d", who, client_id), True, lanes=left,
                            msgs=with_msg(msgs, client_id, index, "final"))
                    after, records, heard, grown = appended(redis, [(client_id, lane)], False)
                    last, _, seq, event = records[0]
                    put(("%s: append.lua appends %d as seq %d", who, client_id, seq), True, redis=after, lis=heard, misc=grown,
                        lanes=with_lanes(sender, {index: without(lane, client_id, True)}),
                        msgs=with_msg(msgs, client_id, index, (epoch, last, seq, event[2]), 1))

        # calls of append_many.lua: the waiting groups of some lanes, in each order
        for size in range(1, len(waiting) + 1) if epoch else ():
            for groups in itertools.permutations(waiting, size):
                calling = [g for g in groups if g[2][2][1] == epoch or not rules["group_epoch"]]
                # A group of another epoch is decided again; one such group at a time is enough.
                if len(calling) < size and size > 1:
                    continue
                order = [(sender, index, client_id) for sender, index, lane in calling for client_id in lane[2][0]]
                chosen, used = [], set()
                for sender, index, client_id in order if ready or not rules["seeded"] and redis[0] else ():
                    fits = client_id not in self.odd and self.unknown(redis[2], now, client_id)
                    if fits and not (client_id in used and rules["taken"]):
                        used.add(client_id)
                        chosen.append((sender, index, client_id))
                    elif rules["stop_room"]:
                        break
                changed, new_lanes = {}, lanes
                for sender, index, lane in groups:
                    lane = lane[:2] + (None, lane[3])
                    for _, _, client_id in (choice for choice in chosen if choice[:2] == (sender, index)):
                        lane = without(lane, client_id, True)
                    changed.setdefault(sender, {})[index] = lane
                for sender, of_sender in changed.items():
                    new_lanes = with_lanes(sender, of_sender, new_lanes)
                if not chosen:
                    put(("call of %s decides none", [o[2] for o in order]), True, lanes=new_lanes)
                    continue
                events = [(c, lanes[of][2] if index < 0 else lanes[of][3][index]) for of, index, c in chosen]
                after, records, heard, grown = appended(redis, events, True)
                if not rules["checks_first"]:
                    after = ((redis[0][0] + len(order),) + after[0][1:],) + after[1:]
                new_msgs = msgs
                for (_, index, client_id), (last, _, seq, event) in zip(chosen, records):
                    new_msgs = with_msg(new_msgs, client_id, index, (epoch, last, seq, event[2]), 1)
                put(("call of %s appends %s up to seq %d", [o[2] for o in order], [c for _, _, c in chosen], records[-1][2]),
                    True, redis=after, lis=heard, misc=grown, lanes=new_lanes, msgs=new_msgs)

        for client_id, (_, _, answer) in enumerate(msgs):
            if isinstance(answer, tuple) and redis[5][0] == answer[0] and redis[5][1] >= answer[1]:
                seq, copy = dict(redis[6]).get(answer[2], answer[2:])
                if rows[seq - 1:seq] != (("m", client_id, copy),):
                    raise Violation("I3: message %d is answered stored at seq %d, PostgreSQL has %s" % (client_id, seq, rows))
                put(("message %d is answered stored", client_id), True, msgs=with_msg(msgs, client_id, -1, "final"))

    @staticmethod
    def heard(lis, notice):
        return lis[:6] + (lis[6] + (notice,),) if lis and lis[5] < 2 else lis

    @staticmethod
    def grown(misc, redis):
        return misc[:3] + (max(misc[3], redis[4]) if misc[6][0] else 0,) + misc[4:]

    def store(self, state, put):
        """The writer. It also appends a `void` event for each void row."""
        (rows, row_epoch, bases), redis, _, writer, _, _, lis, misc = state
        epoch, budget = misc[0], misc[6]
        position = redis[5][1] if epoch == row_epoch == redis[5][0] else 0
        if writer is None:
            put(("a writer begins after ingest id %d", position), True, writer=("read", row_epoch, position))
            return
        if budget[1]:
            put(("the writer crashes",), False, writer=None, misc=misc[:6] + ((budget[0], budget[1] - 1) + budget[2:],))
        if writer[0] == "read":
            if epoch > row_epoch:
                put(("the writer settles in epoch %d", epoch), True, pg=(rows, epoch, bases), writer=("read", epoch, 0))
            elif writer[1] != row_epoch:
                put(("the writer reads after ingest id %d", position), True, writer=("read", row_epoch, position))
            elif epoch == row_epoch:
                waiting = [record for record in redis[3] if record[0] > writer[2]]
                batch = tuple(waiting[:self.opt.batch])
                if self.rules["whole"] and batch:
                    batch = tuple(record for record in waiting if record[0] <= batch[-1][0])
                if batch:
                    put(("the writer reads %s", [record[1:] for record in batch]), True, writer=("write", epoch, batch))
        elif writer[0] == "write" and writer[1] != row_epoch:
            put(("the writer rolls back, the partition is in another epoch",), True, writer=("read", 0, 0))
        elif writer[0] == "write":
            new, exceptions = list(rows), []
            first = {row[1]: (seq, row[2]) for seq, row in enumerate(rows, 1) if row[0] == "m"}
            for _, of, seq, event in writer[2]:
                top = limit(of, bases)
                if top is not None and seq > top:
                    continue
                if seq > len(new) + 1:
                    raise Violation("I1: the writer gets seq %d, PostgreSQL ends at %d" % (seq, len(new)))
                if seq <= len(new):
                    if new[seq - 1] == ("x",) + event[1:]:
                        exceptions.append((seq, first[event[1]]))
                elif event[0] == "m" and event[1] in first and self.rules["unique"]:
                    if misc[5]:
                        raise Violation("V: Redis lost nothing, and message %d is stored twice" % event[1])
                    new.append(("x",) + event[1:])
                    exceptions.append((seq, first[event[1]]))
                else:
                    new.append(event)
                    if event[0] == "m":
                        first[event[1]] = (seq, event[2])
            put(("the writer commits, PostgreSQL has %s", new), True, pg=(tuple(new), row_epoch, bases),
                writer=("mark", row_epoch, writer[2][-1][0], tuple(exceptions)))
        elif writer[1] == epoch:
            _, of, end, exceptions = writer
            kept = tuple(record for record in redis[3] if record[0] >= end)
            found = tuple(sorted(dict(redis[6] + exceptions).items()))
            put(("the writer moves the watermark to %d of epoch %d", end, of), True, writer=("read", of, end),
                redis=redis[:3] + (kept, redis[4], (of, end), found))
        else:
            put(("the watermark of epoch %d is refused", writer[1]), True, writer=("read", 0, 0))
        if self.ready(state):
            for seq in pending_voids(rows):
                if not self.find(redis[2], -seq, redis[0][2]):
                    after, _, notice = self.append(redis, [(-seq, ("v", seq))], misc[2], False)
                    put(("the writer appends the void event of seq %d", seq), True, redis=after, lis=self.heard(lis, notice),
                        misc=self.grown(misc, after))

    def recover(self, state, put):
        """Epochs and seeds, the clock, and the faults of Redis."""
        (rows, row_epoch, bases), redis, image, _, _, _, lis, misc = state
        epoch, last_epoch, now, highest, seed, lossless, budget = misc
        if epoch == 0:
            put(("epoch %d is opened", last_epoch + 1), True, misc=(last_epoch + 1, last_epoch + 1) + misc[2:])
        elif not self.ready(state) and not seed:
            known = redis[0]
            top = limit(known[1], bases) if known else None
            survived = 0 if not known else known[0] if top is None else min(known[0], top)
            base = dict(bases).get(epoch, max(len(rows), survived))
            new = bases if epoch in dict(bases) else bases + ((epoch, base),)
            seq = max(base, len(rows))
            keeps = known is not None and known[0] == survived == seq
            put(("seed: the base of epoch %d is %d", epoch, base), True, pg=(rows, max(epoch, row_epoch), new),
                misc=misc[:4] + ((seq, new, keeps),) + misc[5:])
        elif seed:
            seq, known, keeps = seed
            put(("the room is seeded at seq %d", seq), True, redis=((seq, epoch, known), redis[1] if keeps else ()) + redis[2:],
                misc=misc[:4] + (None,) + misc[5:])
        if budget[3]:
            for moved in (now + 1, now - 1) if now > 1 else (now + 1,):
                put(("the clock moves to window %d", moved), False,
                    misc=misc[:2] + (moved,) + misc[3:6] + (budget[:3] + (budget[3] - 1,),))
        if not budget[0]:
            return
        kinds, left = self.opt.kinds, (budget[0] - 1,) + budget[1:]
        copies = [("restarts, keeps all", redis, lossless)] if "k" in kinds else []
        if "e" in kinds:
            copies.append(("comes back empty", (None, (), (), (), 0, (0, 0), ()), False))
        if image is not None:
            copies.append(("comes back in an earlier state", image, False))
        for what, copy, keeps in copies:
            for last in sorted({copy[4], max(copy[4], highest)}):
                put(("Redis %s, its last ingest id is %d", what, last), False, redis=copy[:4] + (last,) + copy[5:],
                    image=image if left[0] else None, lis=lis and lis[:5] + (2, lis[6]),
                    misc=(0, last_epoch, now, max(highest, copy[4]) if left[0] else 0, None, keeps, left))
        if "s" in kinds and image != redis:
            put(("(a replica holds this state)",), False, image=redis)

    def receive(self, state, put):
        """The receiver and its gateway."""
        (rows, _, bases), redis, _, _, _, _, lis, misc = state
        view, cursor, fill, epoch, seq, lost, notices = lis
        rules, budget, ready = self.rules, misc[6], self.ready(state)
        if lost == 2 and misc[0]:
            put(("the gateway subscribes again",), True, lis=lis[:5] + (1, notices))
        if budget[2]:
            put(("the receiver disconnects, its notices are lost",), False, lis=(view, cursor, None, epoch, seq, max(lost, 1), ()),
                misc=misc[:6] + (budget[:2] + (budget[2] - 1, budget[3]),))
        if notices and not lost:
            (of, at, event), rest = notices[0][0], (notices[0][1:],) * (len(notices[0]) > 1) + notices[1:]
            if len(notices[0]) > 1 and not rules["readable"]:
                put(("the gateway drops a notice that it cannot read",), True, lis=lis[:6] + (notices[1:],))
            elif of != epoch or at <= seq:
                put(("the gateway drops a notice of %d in epoch %d", at, of), True, lis=lis[:5] + (int(of > epoch), rest))
            elif at > seq + 1 or fill:
                put(("a notice of %d causes a replay", at), True, lis=lis[:5] + (1, rest))
            elif at <= len(view):
                put(("the receiver drops %d", at), True, lis=lis[:4] + (at, 0, rest))
            elif at > len(view) + 1:
                raise Violation("I5: the receiver gets %d and holds up to %d" % (at, len(view)))
            else:
                put(("the receiver gets %d live", at), True, lis=(view + (event,), cursor, fill, epoch, at, 0, rest))
        if ready and lost < 2 and redis[0][1] >= epoch and (lost or rules["sweep"] and redis[0][:2] != (seq, epoch)):
            head, now = redis[0][:2]
            kept, tail = view[:limit(cursor, redis[0][2])], dict(redis[1])
            missing = range(len(kept) + 1, head + 1)
            if all(at in tail for at in missing):
                put(("the receiver is caught up from the tail at (%d, %d)", now, head), True,
                    lis=(kept + tuple(tail[at] for at in missing), now, None, now, head, 0, notices))
            else:
                put(("the receiver gets a gap after %d up to %d", len(kept), head), True,
                    lis=(kept, now, head, now, head, 0, notices))
        top = limit(cursor, bases)
        if fill and top is not None and len(view) > top:
            put(("HTTP: the cursor is valid only up to %d", top), True, lis=(view[:top], bases[-1][0]) + lis[2:])
        elif fill and len(rows) >= fill:
            put(("the receiver reads up to %d over HTTP", len(rows)), True, lis=(view + rows[len(view):], cursor, None) + lis[3:])


def as_single_appends(state):
    """The state that single appends reach in place of this one."""
    def lane(of):
        return of[:2] + (None, of[3])

    lanes = tuple((count, attempts, lane(live), tuple(sorted(map(lane, stale), key=repr))) for count, attempts, live, stale in state[4])
    lis = state[6] and state[6][:6] + (tuple((record,) for notice in state[6][6] for record in notice),)
    return state[:4] + (lanes, state[5], lis) + state[7:]


class Table:
    """Numbers the parts of states, so that a state is one integer."""
    BITS = 24

    def __init__(self):
        self.numbers, self.parts = [{} for _ in NAMES], [[] for _ in NAMES]

    def pack(self, state):
        key = 0
        for numbers, parts, part in zip(self.numbers, self.parts, state):
            number = numbers.get(part)
            if number is None:
                number = numbers[part] = len(parts)
                parts.append(part)
            key = key << self.BITS | number
        return key

    def unpack(self, key):
        shifts = range((len(NAMES) - 1) * self.BITS, -1, -self.BITS)
        return tuple(parts[key >> shift & (1 << self.BITS) - 1] for parts, shift in zip(self.parts, shifts))


def explore(model, table, seconds):
    """Returns the visited states, the depth, the states at rest, the violation, its trace, and whether all was visited."""
    began, depth, quiet = time.time(), 0, 0
    front = [table.pack(model.init)]
    parent = {front[0]: None}

    def trace(key):
        keys = [key]
        while parent[keys[-1]] is not None:
            keys.append(parent[keys[-1]])
        keys.reverse()
        return [next(label for label, _, new in model.successors(table.unpack(a)) if table.pack(new) == b) for a, b in zip(keys, keys[1:])]

    while front:
        following = []
        for key in front:
            state = table.unpack(key)
            try:
                after = model.successors(state)
                if model.at_rest(state):
                    quiet += 1
                    model.check_rest(state)
                elif not any(progress for _, progress, _ in after):
                    raise Violation("L: the system stops before it is at rest")
                for _, _, new in after:
                    number = table.pack(new)
                    if number not in parent:
                        parent[number] = key
                        following.append(number)
                        key, old = number, key
                        model.check(new)
                        key = old
            except Violation as violation:
                return parent, depth, quiet, str(violation), trace(key), False
            if time.time() - began > seconds:
                return parent, depth, quiet, None, (), False
        front = following
        depth += 1
    return parent, depth, quiet, None, (), True


def walk(model, seconds, seed):
    """Random walks, for bounds that are too large to visit all states."""
    chance, began, steps, walks, quiet = random.Random(seed), time.time(), 0, 0, 0
    while time.time() - began < seconds:
        state, labels, eager = model.init, [], chance.choice((0.3, 0.6, 0.85))
        walks += 1
        for _ in range(160):
            try:
                after = model.successors(state)
                if model.at_rest(state):
                    quiet += 1
                    model.check_rest(state)
                elif not any(step[1] for step in after):
                    raise Violation("L: the system stops before it is at rest")
                if not after:
                    break
                chosen = [step for step in after if step[1]] if chance.random() < eager else [step for step in after if not step[1]]
                label, _, state = chance.choice(chosen or after)
                labels.append(label)
                steps += 1
                model.check(state)
            except Violation as violation:
                return steps, walks, quiet, str(violation), labels
    return steps, walks, quiet, None, ()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senders", default="0,1/2", help="client ids of each sender")
    parser.add_argument("--odd", default="", help="client ids that only append.lua decides")
    parser.add_argument("--attempts", type=int, default=1)
    parser.add_argument("--faults", type=int, default=0)
    parser.add_argument("--kinds", default="kes", help="k Redis keeps all, e comes back empty, s comes back in an earlier state")
    parser.add_argument("--crashes", type=int, default=0)
    parser.add_argument("--discs", type=int, default=0)
    parser.add_argument("--ticks", type=int, default=0, help="moves of the clock to another window of client ids")
    parser.add_argument("--tail", type=int, default=2, help="records in the room's tail")
    parser.add_argument("--batch", type=int, default=1, help="records in a batch of the writer")
    parser.add_argument("--no-receiver", action="store_true", help="leave the receiver out, for larger bounds of the rest")
    parser.add_argument("--single", action="store_true", help="no call appends more than one message")
    parser.add_argument("--compare", action="store_true", help="check that calls reach no state that single appends do not reach")
    parser.add_argument("--without", default="", help="rules to take away: " + ", ".join(RULES))
    parser.add_argument("--walk", type=float, default=0, help="seconds of random walks instead of the search")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    removed = [rule for rule in options.without.split(",") if rule]
    assert all(rule in RULES for rule in removed), removed
    rules, began, table = {rule: rule not in removed for rule in RULES}, time.time(), Table()
    model, given = Model(rules, not options.single, options), " ".join(sys.argv[1:])
    if options.walk:
        steps, walks, quiet, found, labels = walk(model, options.walk, options.seed)
        print("%s | steps %d, walks %d, at rest %d | %s" % (given, steps, walks, quiet, "VIOLATION " + found if found else "clean"))
    else:
        states, depth, quiet, found, labels, complete = explore(model, table, options.seconds)
        verdict = "VIOLATION " + found if found else "clean, complete" if complete else "clean so far, NOT complete"
        print("%s | states %d, depth %d, at rest %d, %.0f s | %s" % (given, len(states), depth, quiet, time.time() - began, verdict))
        if options.compare and complete:
            many = {table.pack(as_single_appends(table.unpack(key))) for key in states}
            single, _, _, found, _, complete = explore(Model(rules, False, options), table, options.seconds)
            print("  single appends: states %d, %s; with calls of many, as single appends: states %d, of which %d are new"
                  % (len(single), "complete" if complete and not found else "NOT complete", len(many), len(many - single.keys())))
    for number, (text, *values) in enumerate(labels):
        print("  %2d %s" % (number + 1, text % tuple(values)))


if __name__ == "__main__":
    main()
