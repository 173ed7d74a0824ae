#!/usr/bin/env python3
"""Explicit-state model of the memory of client ids of one partition, with clocks (decision 84).

Clients make client ids that contain the time of their own clock, send them, and repeat them, also while an earlier call
is still under way. Redis remembers client ids in windows of its own clock. A window is dropped when later windows have
begun and its records are stored. The clocks of Redis, of the gateway and of each client are wrong, and that of Redis
jumps. Redis restarts with all data, or comes back empty, each time in a new epoch. Calls may stall at each step.
Uses memory only. Searches breadth-first over every interleaving with an exact visited set, so the first violation that
it finds has a shortest trace. Each rule is a switch of RULES with a comment; --without takes rules away, and --old
takes the rules of the previous versions.
Checked at each append:
  V   a client id is not appended while an earlier record of it waits to be stored, or is stored. Redis loses a record
      only together with its memory, and a record that was not stored before the loss is never stored
With --fresh also checked:
  C   a client id that is at most 5 min old, of a right clock, in an old epoch, needs no look-up
Times are in units of 150 s: a window has 4. Not modelled: rooms, seqs, seeds, the order of the log (append_many.py).
Only with --late-first may a first attempt wait until Redis has dropped the window of a later attempt.
"""
import argparse, sys, time

RULES = dict(
    one_clock="the script decides, by the windows that it keeps (without: a gateway decides, by its clock and an age)",
    by_count="a window is dropped when two later windows have begun (without: when it is old by the clock of Redis)",
    floor="a dropped window raises the time from which client ids count as new (without: only its beginning counts)",
    ahead="a sender whose client id was ahead is looked up until that time is dropped (without: it is forgotten)",
    limit="a client id that is ahead of Redis is looked up (without: it counts as new)",
    epoch="the time from which client ids count as new belongs to an epoch (without: a new epoch continues it)",
    token="a look-up counts only while the oldest window is the same (without: for ever)",
    begun="the oldest window is identified by its first record (without: by its number, which it may have again)",
    token_epoch="a look-up counts only in the epoch in which the script asked for it (without: in any epoch)",
    unstored="a window outlives its records that are not stored (without: it is dropped)",
)
WINDOW, AHEAD, MARGIN = 4, 1, 2
YOUNG, COMPLETE = 2, 4  # the previous rule: a young id, an old epoch


class Violation(Exception):
    pass


class Model:
    """State: (T, jr, epoch, opened, windows, floor, ahead, stored, ids, budgets)
    windows  ((name, ids, number), ...) in the order in which they began      floor  None or (epoch, time)
    ahead    ids whose time was ahead when they were appended          ids    per id (made, copies, sent, calls)
    calls    'S' to the script, 'F' first attempt, ('L', token) being looked up, ('K', token) looked up
    """

    def __init__(s, o):
        s.o, s.r = o, {name: name not in o.without for name in RULES}
        s.offsets = [int(x) for x in o.clients.split(',')]
        n = len(s.offsets)
        begun = ((o.start // WINDOW - 1, (), 0),) if o.warm else ()
        floor = (1, (o.start // WINDOW - 1) * WINDOW + AHEAD) if o.warm else None
        s.init = (o.start, 0, 1, 0, begun, floor, (), (), ((None, 0, 0, ()),) * n, (o.jumps, o.fillers, o.restarts))

    def append(s, st, i, previous=False):
        """Appends id i (None: another message). Returns the new parts (windows, floor, ahead, ids). `previous` stands
        for a node of the previous version: it drops windows by their age, writes no floor, and remembers no sender."""
        T, jr, epoch, opened, windows, floor, ahead, stored, ids, bud = st
        now = T + jr
        name = now // WINDOW
        if windows:
            name = min(max(name, windows[-1][0]), name + 1)
        begins = not windows or windows[-1][0] != name
        valid = floor is not None and (floor[0] == epoch or not s.r['epoch'])
        high = max([w[0] for w in windows] + [name])
        if begins:
            kept = list(windows)
            while kept:
                old, inside, _ = kept[0]
                by_count = s.r['by_count'] and not previous
                if by_count and len(kept) == 1: break
                if not by_count and old >= name - 1: break
                if s.r['unstored'] and any(x not in stored for x in inside): break
                kept.pop(0)
                if valid and s.r['floor']:
                    floor = (floor[0], max(floor[1], (old + 1) * WINDOW + AHEAD))
            windows = tuple(kept) + ((name, (), windows[-1][2] + 1 if windows else 0),)
            if valid and not s.r['floor']:
                floor = (floor[0], max(w[0] for w in windows[:1]) * WINDOW + AHEAD)
        if previous:
            floor = None if begins else floor
        elif not valid:
            floor = (epoch, max(floor[1] if floor else 0, now, (high + 1) * WINDOW) + MARGIN)
        if not previous: ahead = tuple(x for x in ahead if ids[x][0] >= floor[1])
        if i is not None:
            made, copies, sent, calls = ids[i]
            if copies: raise Violation("V: %d is appended again" % i)
            ids = ids[:i] + ((made, copies + 1, sent, calls),) + ids[i+1:]
            windows = windows[:-1] + ((windows[-1][0], tuple(sorted(windows[-1][1] + (i,))), windows[-1][2]),)
            if s.r['ahead'] and made > now + AHEAD and not previous: ahead = tuple(sorted(set(ahead + (i,))))
        return windows, floor, ahead, ids

    def is_new(s, st, i):
        T, jr, epoch, opened, windows, floor, ahead, stored, ids, bud = st
        made, now = ids[i][0], T + jr
        if not s.r['one_clock']:
            gateway = T + s.o.gateway
            return made <= gateway and gateway < made + YOUNG and T - opened > COMPLETE
        if floor is None or (s.r['epoch'] and floor[0] != epoch) or not windows: return False
        return made >= floor[1] and (made <= now + AHEAD or not s.r['limit']) and i not in ahead

    def succ(s, st):
        T, jr, epoch, opened, windows, floor, ahead, stored, ids, bud = st
        out = []
        def put(lbl, **k):
            d = dict(T=T, jr=jr, epoch=epoch, opened=opened, windows=windows, floor=floor, ahead=ahead,
                     stored=stored, ids=ids, bud=bud)
            d.update(k)
            out.append((lbl, tuple(d.values())))
        if T < s.o.start + s.o.time: put("time passes: %d" % (T + 1), T=T + 1)
        if bud[0]:
            for j in s.o.offsets:
                if j != jr: put("the clock of Redis is off by %d" % j, jr=j, bud=(bud[0] - 1,) + bud[1:])
        if bud[1]:
            w, f, a, _ = s.append(st, None)
            put("another message is appended at %d: windows %s, new from %s" % (T + jr, w, f),
                windows=w, floor=f, ahead=a, bud=(bud[0], bud[1] - 1, bud[2]))
            if s.o.mixed:
                w, f, a, _ = s.append(st, None, True)
                put("a previous version appends another message at %d: windows %s, new from %s" % (T + jr, w, f),
                    windows=w, floor=f, ahead=a, bud=(bud[0], bud[1] - 1, bud[2]))
        if bud[2]:
            nb = bud[:2] + (bud[2] - 1,)
            put("Redis restarts with all data: epoch %d" % (epoch + 1), epoch=epoch + 1, opened=T, bud=nb)
            def lose(gone):
                is_lost = lambda i: i in gone and i not in stored
                return tuple((x[0], 0) + x[2:] if is_lost(i) else x for i, x in enumerate(ids))
            everything = set(range(len(ids)))
            if s.o.loss:
                put("Redis comes back empty: epoch %d" % (epoch + 1), epoch=epoch + 1, opened=T, windows=(), floor=None,
                    ahead=(), ids=lose(everything), bud=nb)
            if s.o.image and windows:
                put("Redis comes back without its last client ids: epoch %d" % (epoch + 1), epoch=epoch + 1, opened=T,
                    windows=windows[:-1] + ((windows[-1][0], (), windows[-1][2]),), ids=lose(windows[-1][1]), bud=nb)
        unstored = tuple(i for i, x in enumerate(ids) if x[1] and i not in stored)
        if unstored: put("the writer stores %s" % (unstored,), stored=tuple(sorted(stored + unstored)))
        known = {x for w in windows for x in w[1]}
        for i, (made, copies, sent, calls) in enumerate(ids):
            def seti(v): return ids[:i] + (v,) + ids[i+1:]
            if made is None:
                made = T + s.offsets[i]
                put("client %d makes its id at %d and sends it" % (i, made), ids=seti((made, 0, 1, ('S',))))
                if s.o.late_first: put("client %d makes its id, first attempt" % i, ids=seti((made, 0, 1, ('F',))))
            elif sent < s.o.attempts:
                put("client %d repeats" % i, ids=seti((made, copies, sent + 1, tuple(sorted(calls + ('S',), key=str)))))
            for c in sorted(set(calls), key=str):
                rest = list(calls); rest.remove(c); rest = tuple(rest)
                def to(c2): return tuple(sorted(rest + (c2,), key=str))
                if isinstance(c, tuple) and c[0] == 'L':
                    if i in stored: put("look-up finds %d" % i, ids=seti((made, copies, sent, rest)))
                    else: put("look-up of %d finds nothing" % i, ids=seti((made, copies, sent, to(('K', c[1])))))
                    continue
                if i in known:
                    put("script knows %d" % i, ids=seti((made, copies, sent, rest)))
                    continue
                oldest = windows[0][2 if s.r['begun'] else 0] if windows else None
                oldest = (epoch if s.r['token_epoch'] else 0, oldest)
                looked = isinstance(c, tuple) and (c[1] == oldest or not s.r['token'])
                if c == 'F' or looked or s.is_new(st, i):
                    w, f, a, ids2 = s.append(st, i)
                    x = ids2[i]
                    if s.o.mixed and looked:
                        w2, f2, a2, ids3 = s.append(st, i, True)
                        x = ids3[i]
                        put("a previous version appends %d at %d after a look-up: windows %s" % (i, T + jr, w2),
                            windows=w2, floor=f2, ahead=a2, ids=ids3[:i] + (x[:3] + (rest,),) + ids3[i+1:])
                    after = " after a look-up" if looked else ""
                    put("script appends %d at %d%s: windows %s, new from %s" % (i, T + jr, after, w, f),
                        windows=w, floor=f, ahead=a, ids=ids2[:i] + (x[:3] + (rest,),) + ids2[i+1:])
                else:
                    old_epoch = T - opened > 4 * WINDOW and windows
                    if s.o.fresh and not copies and s.offsets[i] == jr == 0 and old_epoch and T - made <= YOUNG:
                        raise Violation("C: the fresh id %d is looked up" % i)
                    put("script answers lookup for %d" % i, ids=seti((made, copies, sent, to(('L', oldest)))))
        return out


def explore(m, seconds):
    seen, front, begun, depth, steps = {m.init: None}, [m.init], time.time(), 0, 0
    def trace(st):
        path = [st]
        while seen[path[-1]] is not None: path.append(seen[path[-1]])
        path.reverse(); labels = []
        for a, b in zip(path, path[1:]):
            labels.append(next(l for l, x in m.succ_safe(a) if x == b))
        return labels
    while front:
        after = []
        for st in front:
            try: nexts = m.succ(st)
            except Violation as v:
                labels = trace(st) + ["… then " + str(v)]
                return len(seen), steps, depth, str(v), labels, time.time() - begun, True
            for _, x in nexts:
                steps += 1
                if x not in seen:
                    seen[x] = st; after.append(x)
            if steps % 512 < 8 and time.time() - begun > seconds:
                return len(seen), steps, depth, None, None, time.time() - begun, False
        front = after; depth += 1
    return len(seen), steps, depth, None, None, time.time() - begun, True


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--clients', default='0', help='how far the clock of each client is ahead')
    p.add_argument('--gateway', type=int, default=0, help='how far the clock of the gateway is ahead (old rules)')
    p.add_argument('--offsets', default='0,9,24,-8', help='offsets to which the clock of Redis jumps')
    p.add_argument('--jumps', type=int, default=0)
    p.add_argument('--fillers', type=int, default=3, help='messages of others, which begin windows')
    p.add_argument('--restarts', type=int, default=0)
    p.add_argument('--loss', action='store_true', help='Redis may come back empty')
    p.add_argument('--image', action='store_true', help='Redis may come back without its last client ids')
    p.add_argument('--attempts', type=int, default=2)
    p.add_argument('--time', type=int, default=10)
    p.add_argument('--start', type=int, default=40)
    p.add_argument('--cold', dest='warm', action='store_false', help='begin without windows')
    p.add_argument('--mixed', action='store_true', help='nodes of the previous version append too')
    p.add_argument('--late-first', action='store_true')
    p.add_argument('--fresh', action='store_true')
    p.add_argument('--without', default='')
    p.add_argument('--old', action='store_true')
    p.add_argument('--seconds', type=float, default=60)
    p.add_argument('--short', action='store_true', help='no trace')
    o = p.parse_args()
    o.without = [x for x in o.without.split(',') if x]
    if o.old: o.without += ['one_clock', 'by_count', 'ahead', 'limit', 'token']
    assert all(x in RULES for x in o.without), o.without
    o.offsets = [int(x) for x in o.offsets.split(',')]
    m = Model(o)
    def safe(st):
        try: return m.succ(st)
        except Violation: return []
    m.succ_safe = safe
    n, steps, depth, v, labels, took, full = explore(m, o.seconds)
    verdict = "VIOLATION " + v if v else "clean, complete" if full else "clean so far, NOT complete"
    print("%s | states %d steps %d depth %d %.1f s | %s" % (' '.join(sys.argv[1:]), n, steps, depth, took, verdict))
    for k, l in enumerate(labels or () if not o.short else ()): print("   %2d %s" % (k + 1, l))


if __name__ == '__main__':
    main()
