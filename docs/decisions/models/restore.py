#!/usr/bin/env pypy3
"""Explicit-state model of ONE room in ONE partition (DESIGN.md 2, 3, 4, 6; PROTOCOL.md cursors, gap, void, epoch).

May touch nothing but memory. Breadth-first over every interleaving, exact visited set (each part of a state is
interned, a state is the tuple of the parts' numbers), so the first violation found has a shortest trace.
Every choice where DESIGN.md is silent or was found wrong is a named switch: LITERAL = an earlier text, FIXED = with the proposed sentences, mutations break one thing of FIXED.  Run: pypy3 model.py --help
"""
import sys, time, argparse, collections

# ---------------------------------------------------------------- switches
FIXED = dict(
    cursor_all=1,     # cursor good iff seq <= base of EVERY later epoch of the room   (0: of the first later epoch)
    guard_epoch=1,    # writer's guard: token AND last_id AND epoch                    (0: token and last_id)
    run_check=1,      # a batch counts only if read from the process the row's epoch belongs to (0: XREAD anywhere)
    lin_base=1,       # survived seq counts only up to the base of every epoch later than the hash's own
    lin_tail=1,       # tail kept only if the hash's own (epoch, seq) is good and equals base (0: ends at base)
    lin_writer=1,     # writer passes over records above the base of any later epoch
    lin_sent=1,       # a remembered client id above the base of any later epoch is a miss
    wm_epoch=1,       # watermark, waits, SET and XTRIM carry the epoch (script)       (0: bare ids)
    exc_durable=1,    # exceptions (late duplicates) are kept in Redis, written with the watermark
    republish=1,      # a new owner reads after the watermark Redis holds for the epoch (0 if none), not after last_id
    void_pending=1,   # message:void is driven by void rows in PostgreSQL without one  (0: writer's memory)
    seed_cas=2,       # seed writes the hash only where it still is what the seed read (1: only where missing or of another epoch; 0: always)
    prefix_epoch=1,   # published prefix carries the epoch
    gap_epoch=1,      # client: epoch of the cursor comes from gap/caught_up, never from HTTP while connected
    gap_min=1,        # client: a gap above what it holds does not move the cursor up
    http_epoch=1,     # client passes epoch when it fills over HTTP (409 honoured)
    seed_epoch_check=1,  # a seed for an epoch older than the partition's is refused
    # mutations
    reopen=1,         # a process that is not the newest opened gets a new epoch before it is used again
    newer_cursor=1,   # a room hash older than the cursor's epoch answers no join or refill (asks for a seed)
    retry_mark=1,     # an owner whose watermark write fails goes back to that place too
    fencing=1, guard=1, onconflict_void=1, script_epoch=1, base_survived=1, tail_drop=1, sync_first=1, seed_switch=1, lookup=1,
    unique=1,
    # PostgreSQL goes back (decision 71)
    notice=1,         # an owner compares the proof with PostgreSQL when it settles, and closes the partition
    open_check=1,     # no epoch is opened while the watermark has a later epoch than PostgreSQL knows
    restore_base=1,   # after-restore writes PostgreSQL's head as a base of its epoch
    restore_number=1, # its epoch has a number that was never used            (0: the next one that PostgreSQL knows)
    restore_exc=1,    # it removes the exceptions
    close=1,          # a noticed partition is closed: its watermark gets an epoch that nobody opened
    proof_late=1,     # a watermark below the present one leaves the proof as it is (0: each write replaces it)
    proof_again=1,    # a batch that only reads stored records again has a proof (0: only what a batch stores itself)
    number=1,         # a batch is written only if PostgreSQL has the previous one (0: the guard does not notice the restore)
)
LITERAL = dict(FIXED, cursor_all=0, guard_epoch=0, run_check=0, lin_base=0, lin_tail=0, lin_writer=0, lin_sent=0,
               wm_epoch=0, exc_durable=0, republish=0, void_pending=0, prefix_epoch=0, gap_epoch=0)

SAFETY = '--safety' in sys.argv   # leave the liveness checks (L: ...) out

class Violation(Exception):
    pass

class Hole(Exception):
    pass

class M:
    """The transition system. A state is a tuple of 10 parts:
    pg   (rows, row_epoch, last_id, room_epochs)         rows: ('m',cid,n) | ('x',cid,n) void | ('v',target) | None hole
    R    (hash, tail, sent, ingest, lastid, stored, exc) hash: None | (seq, epoch, pairs)
    S    None | an R taken earlier (disk image, lagging or parted replica)
    w0,w1 None | ('i',mine,epoch,last) | ('b',mine,epoch,last,new,batch) | ('p',mine,epoch,new,exc,voids) | ('v',mine,epoch,new,voids)
    cmd  per client id (attempts, done, current, stale, appended, memory)   current: None 'S' 'L' ('W',epoch,iid,seq,n)
    lis  None | (view, epoch, fill, held, sess)          fill: None | (target, epoch)   sess: None | (run, epoch, seq, need_sync, queue)
    seed per slot None | ('q',run,hash,tail_last) | ('w',run,seq,pairs,keep_tail)
    O    None | (run, R): an old process that some still reach after a fail-over
    misc (run, epochs given to each run, gmax, pubmax, budgets(faults, forgets, crashes, disconnects, steals, expiries))
    """
    def __init__(s, sw, senders, attempts, faults, forgets, crashes, discs, steals, listener, tailcap, seeds, rule, kinds, expiries=0, clock=2, restores=1):
        s.restores = restores; s.sw = sw; s.senders = senders; s.attempts = attempts; s.tailcap = tailcap; s.rule = rule; s.kinds = kinds
        s.prev = {}
        for lst in senders:
            for i, c in enumerate(lst): s.prev[c] = lst[i-1] if i else None
        s.clock = clock
        n = sum(map(len, senders))
        pg = ((), 1, 0, ((1, 0),))
        R = ((0, 1, ((1, 0),)), (), (), (), 0, (0, 0, 0), ())
        lis = ((), 1, None, (), None) if listener else None
        s.init = (pg, R, None, ('i', True, 1, 0), None, tuple((0, 0, None, (), 0, 0) for _ in range(n)), lis,
                  (None,)*seeds, (0, ((1,),), 0, 0, (faults, forgets, crashes, discs, steals, expiries)), None, (None, (), 0, 0, restores))

    # ---- small helpers
    def bad_at(s, e, pairs):
        """lowest base that makes a cursor of epoch e bad above it, or None"""
        later = [b for (x, b) in pairs if x > e]
        if not later: return None
        return min(later) if s.sw['cursor_all'] else later[0]

    @staticmethod
    def true_limit(e, pairs):
        lim = None
        for (x, b) in pairs:
            if x > e and (lim is None or b < lim): lim = b
        return lim

    def ready(s, R, misc, run=None):
        h = R[0]
        if h is None: return False
        if not s.sw['script_epoch']: return True
        return h[1] in misc[1][misc[0] if run is None else run]

    def known(s, R, key):
        for x in R[2]:
            if x[0] == key:
                if s.sw['lin_sent'] and R[0] is not None:
                    lim = s.true_limit(x[4], R[0][2])
                    if lim is not None and x[1] > lim: return None
                return x
        return None

    def append(s, R, lis, misc, key, ev, run=None):
        (seq, ep, pairs), tail, sent, ing, lastid, stored, exc = R
        seq += 1; iid = lastid + 1
        sent = tuple(sorted([x for x in sent if x[0] != key] + [(key, seq, ev[2] if ev[0] == 'm' else 0, iid, ep)], key=repr))
        tail = (tail + ((seq, ev),))[-s.tailcap:] if s.tailcap else ()
        ing = ing + ((iid, ep, seq, ev),)
        R = ((seq, ep, pairs), tail, sent, ing, iid, stored, exc)
        if lis is not None and lis[4] is not None and lis[4][0] == (misc[0] if run is None else run):
            q = lis[4]
            lis = lis[:4] + ((q[0], q[1], q[2], q[3], q[4] + ((ep, seq, ev),)),)
        gm = max(misc[2], iid) if misc[4][0] else 0
        return R, lis, (misc[0], misc[1], gm, misc[3], misc[4])

    # ---- invariants of one state
    back = False
    def check(s, st):
        pg = st[0]; rows = pg[0]
        seen = set()
        for i, r in enumerate(rows):
            if r is None: raise Violation("I1: hole in PostgreSQL at %d" % (i+1))
            if r[0] == 'm':
                if r[1] in seen: raise Violation("I2: client id %s twice, not void" % r[1])
                seen.add(r[1])
        lis = st[6]
        if lis is not None:
            view, ep = lis[0], lis[1]
            lim = s.true_limit(ep, pg[3])
            top = len(view) if lim is None else min(lim, len(view))
            for p in range(min(top, len(rows))):
                a, b = view[p], rows[p]
                if a is None: raise Violation("I5: listener skipped %d" % (p+1))
                same = (a == b) or (b[0] == 'x' and a[0] == 'm' and a[1:] == b[1:])
                if not same: raise Violation("I5: listener at (e%d, %d) holds %s at %d, PostgreSQL has %s" % (ep, len(view), a, p+1, b))

    @staticmethod
    def fold(seq):
        gone = {e[1] for e in seq if e is not None and e[0] == 'v'}
        return [(i+1, e[1], e[2]) for i, e in enumerate(seq) if e is not None and e[0] == 'm' and (i+1) not in gone]

    def quiet(s, st):
        pg, R, S, w0, w1, cmd, lis, seed, misc, O, B = st
        if B[2]: return False
        if not s.ready(R, misc): return False
        if any(x is not None for x in seed): return False
        for w in (w0, w1):
            if w is not None and w[0] != 'i': return False
        if s.sw['reopen'] and s.sw['script_epoch'] and misc[1][misc[0]][-1] != max(max(x) if x else 0 for x in misc[1]): return False
        if not any(w is not None and w[1] for w in (w0, w1)): return False
        if s.sw['void_pending'] and s.pending_exc(pg[0]): return False
        if R[3] and R[3][-1][0] > pg[2]: return False
        if (pg[1],) != misc[1][misc[0]][-1:] and s.sw['script_epoch']: return False
        for c in cmd:
            if c[2] in ('S', 'L') or c[3]: return False
        if lis is not None:
            view, ep, fill, held, sess = lis
            if sess is None or fill is not None or sess[3] or sess[4]: return False
            if sess[0] != misc[0] or sess[2] != R[0][0] or sess[1] != R[0][1]: return False
        return True

    def check_quiet(s, st):
        pg, R, S, w0, w1, cmd, lis, seed, misc, O, B = st
        if s.sw['script_epoch'] and (R[0][1],) != misc[1][misc[0]][-1:]: return
        if len(pg[0]) != R[0][0]: raise Violation("I1/stuck: quiescent, Redis at %d, PostgreSQL at %d" % (R[0][0], len(pg[0])))
        if lis is not None:
            a, b = s.fold(lis[0]), s.fold([r for r in pg[0]])
            # a void event row counts in PostgreSQL only through the void row itself
            b = [(i+1, r[1], r[2]) for i, r in enumerate(pg[0]) if r is not None and r[0] == 'm']
            if a != b: raise Violation("I4: quiescent, listener folds to %s, PostgreSQL to %s" % (a, b))
        # What was accepted and not stored is lost by the restore, by decision 71.
        if s.kinds == 'k' and B[4] == s.restores:
            have = {(r[1], r[2]) for r in pg[0] if r is not None and r[0] in 'mx'}
            for i, c in enumerate(cmd):
                for q in range(c[4]):
                    if (i, q) not in have: raise Violation("I0: %d.%d was accepted, Redis lost nothing, PostgreSQL never gets it" % (i, q))
        for i, c in enumerate(cmd):
            if isinstance(c[2], tuple) and c[2][1] == R[0][1] and not s.answerable(st, c[2]):
                if not SAFETY: raise Violation("L: quiescent, the sender of %s waits for ever (no notice, retry gives the same)" % i)

    # ---- stored answers
    def answerable(s, st, W):
        R, misc, O = st[1], st[8], st[9]
        _, ep, iid, seq, n = W
        if s.sw['wm_epoch']: return (R[5][0] == ep and R[5][1] >= iid) or (O is not None and O[1][5][0] == ep and O[1][5][1] >= iid)
        return R[5][1] >= iid or misc[3] >= iid

    @staticmethod
    def lost(pg, R):
        return R[5][2] > len(pg[0]) or R[5][0] > pg[1]

    def proof(s, stored, epoch, upto, head):
        """the proof after a watermark of this batch is written"""
        late = s.sw['proof_late'] and stored[0] == epoch and upto < stored[1]
        return stored[2] if late or head is None else head

    def prove(s, pg, cid, seq, n, how, gone=()):
        r = pg[0][seq-1] if 0 < seq <= len(pg[0]) else None
        # Before the restore is noticed, an answer may be true of the lost rows.
        if r is None and 0 < seq <= len(gone): r = gone[seq-1]
        if r != ('m', cid, n):
            raise Violation("I3/I7: `stored` (%s) for client id %s at %d id %s.%d, PostgreSQL has %s" % (how, cid, seq, cid, n, r))

    # ---- successors: yields (label, progress?, state)
    def succ(s, st):
        pg, R, S, w0, w1, cmd, lis, seed, misc, O, B = st
        sw = s.sw; run, epochs, gmax, pubmax, bud = misc
        E = epochs[run][-1] if epochs[run] else 0; rdy = s.ready(R, misc); top = max(max(x) if x else 0 for x in epochs)
        if O is not None: oR, orun = O[1], O[0]
        rows, rep, last, pairs = pg
        out = []
        def put(lbl, prog, **k):
            out.append((lbl, prog, (k.get('pg', pg), k.get('R', R), k.get('S', S), k.get('w0', w0), k.get('w1', w1), k.get('cmd', cmd),
                                    k.get('lis', lis), k.get('seed', seed), k.get('misc', misc), k.get('O', O), k.get('B', B))))
        def setc(i, v): return cmd[:i] + (v,) + cmd[i+1:]

        # senders
        for i, c in enumerate(cmd):
            att, done, cur, stale, n, mem = c
            if not done and cur is None and att == 0:
                p = s.prev[i]
                if p is None or cmd[p][1] or cmd[p][0] >= s.attempts:
                    put("sender sends %d" % i, False, cmd=setc(i, (1, 0, 'S', stale, n, mem)))
            if not done and cur is not None and att < s.attempts:
                ns = tuple(sorted(stale + (cur,))) if cur in ('S', 'L') else stale
                put("sender of %d gives up waiting and retries through another gateway" % i, False, cmd=setc(i, (att+1, 0, 'S', ns, n, mem)))
            todo = []
            if cur in ('S', 'L'): todo.append((cur, True))
            for x in sorted(set(stale)): todo.append((x, False))
            if O is not None and s.ready(oR, misc, orun):
                for (ph, live) in todo:
                    if live: rest = lambda nc, nn: (att, 0, nc, stale, nn, mem)
                    else:
                        l = list(stale); l.remove(ph); l = tuple(l)
                        rest = lambda nc, nn: (att, done, cur, l, nn, mem)
                    k = s.known(oR, i)
                    if k is not None:
                        put("gateway at the parted process: script knows %d (seq %d)" % (i, k[1]), True, cmd=setc(i, rest(('W', k[4], k[3], k[1], k[2]), n)))
                    else:
                        R2, lis2, m2 = s.append(oR, lis, misc, i, ('m', i, n), orun)
                        put("gateway at the parted process: append %d.%d -> seq %d epoch %d" % (i, n, R2[0][0], R2[0][1]), False,
                            O=(orun, R2), lis=lis2, misc=m2, cmd=setc(i, rest(('W', R2[0][1], R2[4], R2[0][0], n), n+1)))
            for (ph, live) in todo:
                if not rdy: continue
                who = "gateway" if live else "stalled gateway (old attempt)"
                if live: rest = lambda nc, nn, nm, d=0: (att, d, nc, stale, nn, nm)
                else:
                    l = list(stale); l.remove(ph); l = tuple(l)
                    rest = lambda nc, nn, nm, d=0: (att, done, cur, tuple(sorted(l + ((nc,) if nc in ('S', 'L') else ()))), nn, nm)
                k = s.known(R, i)
                if k is not None:
                    put("%s: script knows %d (seq %d, ingest %d), waits" % (who, i, k[1], k[3]), True,
                        cmd=setc(i, rest(('W', R[0][1], k[3], k[1], k[2]), n, mem)))
                else:
                    ok = ph == 'L' or not s.rule or (live and att == 1) or not live and ph == 'S' or mem == 0 or mem == R[0][1] or not sw['lookup']
                    if ok:
                        R2, lis2, m2 = s.append(R, lis, misc, i, ('m', i, n))
                        nm = mem if mem == -1 else (R[0][1] if mem in (0, R[0][1]) else -1)
                        if not s.rule: nm = 0
                        put("%s: append %d.%d -> seq %d epoch %d ingest %d" % (who, i, n, R2[0][0], R2[0][1], R2[4]), True,
                            R=R2, lis=lis2, misc=m2, cmd=setc(i, rest(('W', R2[0][1], R2[4], R2[0][0], n), n+1, nm)))
                    if ph == 'S' and sw['lookup']:
                        f = [(q+1, r) for q, r in enumerate(rows) if r is not None and r[0] == 'm' and r[1] == i]
                        if f:
                            put("%s: look-up finds %d at %d, answers stored" % (who, i, f[0][0]), True, cmd=setc(i, rest(None, n, mem, 1)))
                        else:
                            put("%s: look-up of %d finds nothing" % (who, i), True, cmd=setc(i, rest('L', n, mem)))
            if isinstance(cur, tuple) and not done and s.answerable(st, cur):
                _, ep, iid, seq, nn = cur
                ex = dict(R[6]) if sw['exc_durable'] else {}
                if O is not None and not (R[5][0] == ep and R[5][1] >= iid): ex = dict(oR[6])
                if seq in ex:
                    q = ex[seq]
                    s.prove(pg, i, q[0], q[1], "exception", B[1])
                else:
                    s.prove(pg, i, seq, nn, "watermark", B[1])
                    if B[2] == 1 and seq > len(rows) and O is None and sw['notice'] and not s.lost(pg, R):
                        raise Violation("N: `stored` for client id %s at %d, which is lost, and nobody notices it" % (i, seq))
                put("sender of %d answered stored" % i, True, cmd=setc(i, (att, 1, None, stale, n, mem)))

        # writers
        anymine = (w0 is not None and w0[1]) or (w1 is not None and w1[1])
        for wi, w in ((0, w0), (1, w1)):
            me = 'w%d' % wi; ot = 'w%d' % (1-wi); o = (w1, w0)[wi]
            nm = "writer %d" % wi
            if (w is None or (w[0] == 'i' and not w[1])) and (not anymine or bud[4]) and not s.lost(pg, R):
                no = None if o is None else (o[0], not sw['fencing'] and o[1]) + o[2:]
                if o is not None and not o[1]: no = o
                pos = s.mark(R, epochs[run], rep) if sw['republish'] else last
                nw = ('i', True, rep, pos)
                m = misc if not anymine else (run, epochs, gmax, pubmax, bud[:4] + (bud[4]-1,) + bud[5:])
                put("%s takes the lease, reads after ingest %d" % (nm, pos), not anymine, **{me: nw, ot: no, 'misc': m, 'pg': (rows, rep, pos, pairs)})
            if w is None: continue
            if bud[2]:
                put("%s crashes in phase %s" % (nm, w[0]), False, **{me: None, 'misc': (run, epochs, gmax, pubmax, bud[:2] + (bud[2]-1,) + bud[3:])})
            if w[0] == 'i' and w[1]:
                _, mine, we, wl = w
                if s.lost(pg, R): settle = False
                else: settle = True
                if E > rep and settle:
                    put("%s switches the partition to epoch %d, reads from 0" % (nm, E), True, **{'pg': (rows, E, 0, pairs), me: ('i', True, E, 0)})
                if (we, wl) != (rep, last) and settle:
                    put("%s re-reads the partition row" % nm, True, **{me: ('i', True, rep, last)})
                if O is not None and we in epochs[orun]:
                    b = tuple(x for x in oR[3] if x[0] > wl)
                    if b: put("%s reads from the parted process %s" % (nm, [("e%d/%d" % (x[1], x[2]), x[3]) for x in b]), False, **{me: ('b', True, we, wl, b[-1][0], b)})
                if (not sw['run_check']) or we in epochs[run]:
                    b = tuple(x for x in R[3] if x[0] > wl)
                    if b: put("%s reads %s" % (nm, [("e%d/%d" % (x[1], x[2]), x[3], "ingest %d" % x[0]) for x in b]), True, **{me: ('b', True, we, wl, b[-1][0], b)})
            elif w[0] == 'b':
                _, mine, we, wl, new, b = w
                if not sw['guard'] or (mine and (last == wl or not sw['number']) and (rep == we or not sw['guard_epoch'])):
                    s.back = bool(B[2])
                    try: nr, exc, vo = s.commit(rows, pairs, b)
                    except Hole:
                        put("%s: a record does not follow the head, settles again" % nm, True, **{me: ('i', True, -1, -1)}); continue
                    put("%s commits up to ingest %d (void: %s)" % (nm, new, vo), True, **{'pg': (nr, rep, new, pairs), me: ('p', True, we, new, exc, vo, len(nr) if nr != rows or sw['proof_again'] else None)})
                else:
                    put("%s: guard misses, rolls back" % nm, True, **{me: ('i', True, -1, -1) if mine else None})
            elif w[0] == 'p':
                _, mine, we, new, exc, vo, head = w
                nx = ('i', True, we, new) if mine else None
                if vo and not sw['void_pending']: nx = ('v', mine, we, new, vo)
                if sw['wm_epoch']:
                    if O is not None and we in epochs[orun] and oR[5][0] <= we:
                        R2 = oR[:3] + (tuple(x for x in oR[3] if x[0] >= new), oR[4], (we, max(new, oR[5][1] if oR[5][0] == we else 0), s.proof(oR[5], we, new, head)), s.merge(oR[6], exc))
                        put("%s: watermark (e%d, %d) at the parted process" % (nm, we, new), True, **{me: nx, 'O': (orun, R2)})
                    if we in epochs[run] and R[5][0] <= we:
                        R2 = R[:3] + (tuple(x for x in R[3] if x[0] >= new), R[4], (we, max(new, R[5][1] if R[5][0] == we else 0), s.proof(R[5], we, new, head)), s.merge(R[6], exc))
                        put("%s: watermark (e%d, %d), exceptions %s, trims" % (nm, we, new, exc), True, **{me: nx, 'R': R2})
                    elif mine and s.lost(pg, R): put("%s: watermark script refused, settles again" % nm, True, **{me: ('i', True, -1, -1)})
                    elif mine and rep == we and sw['retry_mark']:
                        # the records above the watermark that Redis holds are read again: their exceptions come again
                        q = s.mark(R, epochs[run], rep)
                        put("%s: watermark script refused (other epoch), goes back to ingest %d" % (nm, q), True, **{me: ('i', True, rep, q), 'pg': (rows, rep, q, pairs)})
                    else:
                        put("%s: watermark script refused (other epoch)" % nm, True, **{me: nx})
                else:
                    R2 = R[:3] + (tuple(x for x in R[3] if x[0] >= new), R[4], (0, new, head), s.merge(R[6], exc) if sw['exc_durable'] else ())
                    put("%s: SET stored %d and publishes, trims" % (nm, new), True, **{me: nx, 'R': R2, 'misc': (run, epochs, gmax, max(pubmax, new), bud)})
            elif w[0] == 'v':
                _, mine, we, new, vo = w
                if rdy:
                    R2, l2, m2 = s.append(R, lis, misc, ('v', vo[0]), ('v', vo[0]))
                    nx = ('v', mine, we, new, vo[1:]) if len(vo) > 1 else (('i', True, we, new) if mine else None)
                    put("%s appends message:void of %d -> seq %d" % (nm, vo[0], R2[0][0]), True, **{'R': R2, 'lis': l2, 'misc': m2, me: nx})
        if sw['void_pending'] and rdy and anymine:
            told = {r[1] for r in rows if r is not None and r[0] == 'v'}
            for q, r in enumerate(rows):
                if r is not None and r[0] == 'x' and (q+1) not in told and s.known(R, ('v', q+1)) is None:
                    R2, l2, m2 = s.append(R, lis, misc, ('v', q+1), ('v', q+1))
                    put("owner appends message:void of %d -> seq %d" % (q+1, R2[0][0]), True, R=R2, lis=l2, misc=m2)

        # epochs and seeds
        known = B[3] if B[2] else top
        if B[2]:
            if (E == 0 or E < known) and not (sw['open_check'] and R[5][0] > known):
                ne = epochs[:run] + (epochs[run] + (known+1,),) + epochs[run+1:]
                put("epoch %d opened for process %d by a PostgreSQL that went back" % (known+1, run), True, misc=(run, ne, gmax, pubmax, bud), B=B[:3] + (known+1,) + B[4:])
        elif sw['script_epoch'] and (E == 0 or (sw['reopen'] and E < top)):
            ne = epochs[:run] + (epochs[run] + (top+1,),) + epochs[run+1:]
            put("epoch %d opened for process %d%s" % (top+1, run, " (again)" if E else ""), True, misc=(run, ne, gmax, pubmax, bud))
        if O is not None:
            put("the parted process is gone", True, O=None)
            if bud[0] and 'b' in s.kinds:
                put("fail-back: process %d serves again" % orun, False, R=oR, O=None, misc=(orun, epochs, gmax, pubmax, (bud[0]-1,) + bud[1:]), S=S if bud[0] > 1 else None)
        need = (R[0] is None or (R[0][1] != E and sw['script_epoch'])) and E > 0
        for si, sd in enumerate(seed):
            def ss(v): return seed[:si] + (v,) + seed[si+1:]
            if sd is None:
                if need and not (si and seed[0] is None):
                    tl = R[1][-1][0] if R[1] else None
                    put("seed %d starts: reads what survived %s" % (si, R[0] and R[0][:2]), True, seed=ss(('q', run, R[0] and R[0][:2], tl, E)))
            elif sd[0] == 'q':
                _, r0, h, tl, _e = sd; e0 = sd[4]
                if e0 < rep and sw['seed_epoch_check']:
                    put("seed %d refused: epoch %d is past" % (si, e0), True, seed=ss(None)); continue
                p2, rp2, l2 = pairs, rep, last
                if e0 > rep and sw['seed_switch']: rp2, l2 = e0, 0
                sv = h[0] if h is not None else 0
                eff = sv
                if h is not None and sw['lin_base']:
                    lim = s.true_limit(h[1], tuple(x for x in pairs if x[0] < e0))
                    if lim is not None: eff = min(eff, lim)
                if not sw['base_survived']: eff = 0
                ex = [b for (x, b) in pairs if x == e0]
                base = ex[0] if ex else max(len(rows), eff)
                if not ex: p2 = pairs + ((e0, base),)
                sq = max(base, len(rows))
                if sw['lin_tail']: keep = h is not None and sv == eff == sq and tl == sq
                else: keep = tl == sq
                if not sw['tail_drop']: keep = True
                put("seed %d: under the row lock base(e%d) = %d" % (si, e0, base), True, pg=(rows, rp2, l2, p2), seed=ss(('w', r0, sq, p2, keep, e0, h)))
            else:
                _, r0, sq, p2, keep, e0, h = sd
                if r0 == run and (not sw['seed_cas'] or (need if sw['seed_cas'] == 1 else (R[0] and R[0][:2]) == h)):
                    st5 = R[5]
                    if not sw['wm_epoch']: st5 = R[5]
                    put("seed %d writes the room hash seq %d epoch %d, tail %s" % (si, sq, e0, "kept" if keep else "dropped"), True,
                        R=((sq, e0, p2), R[1] if keep else (), R[2], R[3], R[4], st5, R[6]), seed=ss(None))
                else:
                    put("seed %d: its write is refused (process or hash changed)" % si, True, seed=ss(None))

        # PostgreSQL goes back
        img, gone, phase, kmax, left = B
        if left and img is None and not phase:
            put("(copy of PostgreSQL taken here)", False, B=((pg, top),) + B[1:])
        if img is not None and img[0] != pg and not phase:
            put("PostgreSQL goes back to the copy", False, pg=img[0], B=(None, rows, 1, img[1], left-1))
        if phase == 1 and s.lost(pg, R) and sw['notice']:
            c = max(top, R[5][0], kmax) + 1
            put("noticed, partition closed", True, R=R[:5] + ((c if sw['close'] else R[5][0], 0 if sw['close'] else R[5][1], R[5][2]),) + R[6:], B=(None, (), 2, kmax, left))
        if phase:
            x = (max(top, R[5][0]) if sw['restore_number'] else kmax) + 1
            p2 = pairs + ((x, len(rows)),) if sw['restore_base'] else pairs
            put("after-restore opens epoch %d with base %d" % (x, len(rows)), True, pg=(rows, x, 0, p2), R=R[:5] + ((x, 0, 0), () if sw['restore_exc'] else R[6]),
                misc=(run, epochs + ((x,),), gmax, pubmax, bud), B=(None, (), 0, 0, left))
        # faults; Redis keeps its data between the restore and the job
        if bud[0]:
            nb = (bud[0]-1,) + bud[1:]
            def fault(lbl, nR, nS, nO=None):
                ids = {nR[4]}
                if s.clock == 2: ids.add(max(gmax, nR[4]))
                elif s.clock == 1: ids = {max(gmax, nR[4])}
                for li in sorted(ids):
                    put(lbl + (", clock forward" if li >= gmax and gmax > nR[4] else ""), False, R=nR[:4] + (li,) + nR[5:], S=nS,
                        O=O if nO is None else nO, misc=(len(epochs), epochs + ((),), gmax if nb[0] else 0, pubmax, nb))
            k = s.kinds
            if 'p' in k and O is None:
                fault("fail-over to an up-to-date replica, the old process stays up for some", R, S if nb[0] else None, (run, R))
                if S is not None: fault("fail-over to a lagging replica, the old process stays up for some", S, S if nb[0] else None, (run, R))
            if 'k' in k: fault("Redis restarts, keeps all", R, S if nb[0] else None)
            if 'e' in k and not phase: fault("Redis comes back empty", (None, (), (), (), 0, (0, 0, 0), ()), S if nb[0] else None)
            if S is not None and not phase: fault("Redis comes back as an earlier state (rolled back / lagging or parted replica)", S, S if nb[0] else None)
            if 's' in k and S != R: put("(image of Redis taken here)", False, S=R)
        if bud[1] and rdy:
            for x in R[2]:
                w = R[5][1] if (not sw['wm_epoch'] or R[5][0] == E) else 0
                if x[3] <= w:
                    i = x[0]
                    c2 = setc(i, cmd[i][:5] + (-1,)) if (s.rule and isinstance(i, int)) else cmd
                    put("client-id window with %s forgotten" % (i,), False, R=R[:2] + (tuple(y for y in R[2] if y[0] != i),) + R[3:], cmd=c2,
                        misc=(run, epochs, gmax, pubmax, (bud[0], bud[1]-1) + bud[2:]))
        if bud[5] and rdy and not any(seed) and len(rows) == R[0][0] and (not R[3] or R[3][-1][0] <= last):
            put("room hash and tail expire", False, R=(None, ()) + R[2:], misc=(run, epochs, gmax, pubmax, bud[:5] + (bud[5]-1,)))

        # listener
        if lis is not None:
            view, ep, fill, held, sess = lis
            if sess is None:
                put("listener joins with (e%d, %d)" % (ep, len(view)), True, lis=(view, ep, None, (), (run, ep, len(view), True, ())))
            else:
                sr, se, sl, ns, q = sess
                if bud[3]:
                    put("listener disconnects", False, lis=(view, ep, None, (), None), misc=(run, epochs, gmax, pubmax, bud[:3] + (bud[3]-1,) + bud[4:]))
                if sr != run:
                    put("gateway re-subscribes", True, lis=lis[:4] + ((run, se, sl, True if sw['sync_first'] else ns, q),))
                if q and (not ns):
                    (e, sq, ev), q2 = q[0], q[1:]
                    if (sw['prefix_epoch'] and e != se) or sq <= sl:
                        put("gateway drops hint e%d/%d" % (e, sq), True, lis=lis[:4] + ((sr, se, sl, ns or (sw['prefix_epoch'] and e > se), q2),))
                    elif sq == sl+1:
                        v, h = s.feed(view, fill, held, sq, ev)
                        put("listener gets live e%d/%d %s" % (e, sq, ev), True, lis=(v, ep, fill, h, (sr, se, sq, ns, q2)))
                    else:
                        put("gateway sees a hole before e%d/%d" % (e, sq), True, lis=lis[:4] + ((sr, se, sl, True, q2),))
                if O is not None and sr == orun and s.ready(oR, misc, orun): lp = (oR, orun)
                else: lp = (R, run) if rdy and sr == run else None
                if lp is not None and sw['newer_cursor'] and lp[0][0][1] < se: lp = None
                if lp is not None and (ns or (se, sl) != (lp[0][0][1], lp[0][0][0])):
                    seq, he, pr = lp[0][0]
                    bad = s.bad_at(se, pr); gap = None
                    if bad is not None and sl > bad: gap = bad
                    else:
                        t = [x for x in lp[0][1] if x[0] > sl]
                        if sl == seq: v, h = view, held
                        elif t and t[0][0] == sl+1 and t[-1][0] == seq:
                            v, h = view, held
                            for (sq, ev) in t:
                                # a void already known to the tail's reader is still shown as the message, its message:void follows
                                v, h = s.feed(v, fill, h, sq, ev)
                        else: gap = sl
                    ses2 = (lp[1], he, seq, False, q)
                    if gap is None:
                        put("gateway replays %d..%d from the tail, caught_up (e%d, %d)" % (sl+1, seq, he, seq), True,
                            lis=(v, ep if fill else he, (fill[0], he) if fill else None, h, ses2))
                    else:
                        v = view[:gap]
                        if gap > len(view) and not sw['gap_min']: v = view + (None,)*(gap-len(view))
                        f = (seq, he) if seq > len(v) else None
                        put("gateway sends room:gap after %d head (e%d, %d)" % (gap, he, seq), True, lis=(v, he, f, (), ses2))
                if fill is not None:
                    bad = s.bad_at(ep, pairs)
                    if sw['http_epoch'] and bad is not None and len(view) > bad:
                        put("HTTP fill: 409 after %d" % bad, True, lis=(view[:bad], pairs[-1][0], fill, held, sess))
                    elif len(rows) >= fill[0]:
                        v = view + rows[len(view):]
                        for (sq, ev) in held:
                            if sq > len(v):
                                if sq != len(v)+1: raise Violation("I5: hole before held event %d" % sq)
                                v = v + (ev,)
                        ne = fill[1] if sw['gap_epoch'] else pairs[-1][0]
                        put("HTTP fill up to %d, held events applied, cursor (e%d, %d)" % (len(rows), ne, len(v)), True, lis=(v, ne, None, (), sess))
        return out

    @staticmethod
    def feed(view, fill, held, sq, ev):
        if fill is not None: return view, held + ((sq, ev),)
        if sq <= len(view): return view, held        # client: an event at or below the cursor is dropped
        if sq != len(view)+1: raise Violation("I5: listener is sent %d while it holds up to %d" % (sq, len(view)))
        return view + (ev,), held

    @staticmethod
    def merge(a, b):
        d = dict(a); d.update(dict(b)); return tuple(sorted(d.items()))

    @staticmethod
    def mark(R, eps, e):
        """the watermark this process holds for epoch e, else 0"""
        return R[5][1] if e in eps and R[5][0] == e else 0

    @staticmethod
    def pending_exc(rows):
        told = {r[1] for r in rows if r is not None and r[0] == 'v'}
        first = {r[1]: (i+1, r[2]) for i, r in enumerate(rows) if r is not None and r[0] == 'm'}
        return tuple((i+1, first[r[1]]) for i, r in enumerate(rows) if r is not None and r[0] == 'x' and (i+1) not in told)

    def commit(s, rows, pairs, batch):
        sw = s.sw; rows = list(rows); exc = []; vo = []
        first = {r[1]: (i+1, r[2]) for i, r in enumerate(rows) if r is not None and r[0] == 'm'}
        for (iid, e, sq, ev) in batch:
            if sw['lin_writer']:
                lim = s.true_limit(e, pairs)
                if lim is not None and sq > lim: continue
            if sq <= len(rows):
                r = rows[sq-1]
                if r is not None and r[0] == 'x' and ev[0] == 'm' and r[1:] == ev[1:]: exc.append((sq, first[r[1]]))
            elif sq == len(rows)+1:
                if ev[0] == 'm' and ev[1] in first and sw['unique']:
                    if sw['onconflict_void']:
                        rows.append(('x',) + ev[1:]); exc.append((sq, first[ev[1]])); vo.append(sq)
                    else: rows.append(None)
                else:
                    rows.append(ev)
                    if ev[0] == 'm': first[ev[1]] = (sq, ev[2])
            else:
                raise (Hole if s.back else Violation)("I1: writer is handed e%d/%d while PostgreSQL ends at %d (hole)" % (e, sq, len(rows)))
        return tuple(rows), tuple(exc), tuple(vo)


# ---------------------------------------------------------------- search
def explore(m, maxstates=10**9, maxsec=10**9, quiet=False, many=0):
    """BFS; returns (states, transitions, depth, violation text, trace or None, complete?)"""
    tabs = [dict() for _ in range(11)]; backs = [[] for _ in range(11)]
    BITS = 25
    tabR = tabs[1]; backR = backs[1]; tabs[2] = tabR; backs[2] = backR
    def pack(st):
        k = 0
        for i in range(11):
            t = tabs[i]; x = st[i]; j = t.get(x)
            if j is None:
                j = len(backs[i]); t[x] = j; backs[i].append(x)
            k = (k << BITS) | j
        return k
    MASK = (1 << BITS) - 1
    def unpack(k):
        r = [None]*11
        for i in range(10, -1, -1):
            r[i] = backs[i][k & MASK]; k >>= BITS
        return tuple(r)
    def trace(key, extra=None):
        keys = [key]
        while parent[keys[-1]] is not None: keys.append(parent[keys[-1]])
        keys.reverse(); out = []
        for a, b in zip(keys, keys[1:]):
            for (lbl, pr, st) in m.succ(unpack(a)):
                if pack(st) == b: out.append(lbl); break
        return out
    k0 = pack(m.init); parent = {k0: None}; front = [k0]; depth = 0; trans = 0; t0 = time.time(); quiets = 0
    while front:
        nxt = []
        for k in front:
            st = unpack(k)
            try:
                sc = m.succ(st)
                prog = False
                for (lbl, pr, n) in sc:
                    trans += 1
                    if pr: prog = True
                    kk = pack(n)
                    if kk not in parent:
                        parent[kk] = k
                        try: m.check(n)
                        except Violation as v: return len(parent), trans, depth+1, str(v), trace(kk), False
                        nxt.append(kk)
                if m.quiet(st):
                    quiets += 1; m.check_quiet(st)
                elif not prog and not SAFETY:
                    raise Violation("L: stuck, nothing left to do and not quiescent: " + why(m, st))
            except Violation as v:
                return len(parent), trans, depth, str(v), trace(k), False
            if len(parent) > maxstates or ((trans & 1023) == 0 and time.time()-t0 > maxsec):
                return len(parent), trans, depth, None, None, False
        front = nxt; depth += 1
        if not quiet: print("  depth %d, states %d, frontier %d, quiescent %d, %.0f s" % (depth, len(parent), len(front), quiets, time.time()-t0), file=sys.stderr, flush=True)
    return len(parent), trans, depth, None, None, True

def walk(m, sec, seed, depth=160):
    """random walks for bounds too large to exhaust; progress is preferred so that many walks end quiescent"""
    import random
    rnd = random.Random(seed); t0 = time.time(); steps = walks = quiets = 0
    while time.time()-t0 < sec:
        st = m.init; tr = []; walks += 1; pq = rnd.choice((0.3, 0.6, 0.85))
        for _ in range(depth):
            try:
                sc = m.succ(st)
                if m.quiet(st): quiets += 1; m.check_quiet(st)
                elif not any(x[1] for x in sc): raise Violation("L: stuck, nothing left to do and not quiescent: " + why(m, st))
                if not sc: break
                a = [x for x in sc if x[1]]; b = [x for x in sc if not x[1]]
                lbl, _p, st = rnd.choice(a if a and (not b or rnd.random() < pq) else b)
                tr.append(lbl); steps += 1
                m.check(st)
            except Violation as v:
                return steps, walks, quiets, str(v), tr
    return steps, walks, quiets, None, None

def why(m, st):
    pg, R, S, w0, w1, cmd, lis, seed, misc, O, B = st
    return "pg %s Redis %s writers %s %s listener %s" % (pg, R[0], w0, w1, lis)

def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--base', choices=['literal', 'fixed'], default='fixed')
    ap.add_argument('--set', default='', help='switch=0|1,... on top of base')
    ap.add_argument('--senders', default='0,1', help="client ids per sender, e.g. '0,1/2'")
    ap.add_argument('--attempts', type=int, default=2)
    ap.add_argument('--faults', type=int, default=2)
    ap.add_argument('--kinds', default='kes', help='k keep all, e emptied, s earlier state, p fail-over with the old process still reachable, b fail-back to it')
    ap.add_argument('--restores', type=int, default=1, help='how often PostgreSQL goes back')
    ap.add_argument('--clock', type=int, default=2, help='ingest ids after a fault: 0 reused, 1 go on, 2 either')
    ap.add_argument('--forgets', type=int, default=0)
    ap.add_argument('--crashes', type=int, default=0)
    ap.add_argument('--discs', type=int, default=0)
    ap.add_argument('--steals', type=int, default=0)
    ap.add_argument('--expiries', type=int, default=0)
    ap.add_argument('--listener', type=int, default=1)
    ap.add_argument('--tail', type=int, default=2)
    ap.add_argument('--seeds', type=int, default=1)
    ap.add_argument('--rule', type=int, default=0, help='1: skip the look-up only where the exception rule allows; 0: at will')
    ap.add_argument('--max', type=int, default=60_000_000)
    ap.add_argument('--seconds', type=int, default=10**9)
    ap.add_argument('--walk', type=int, default=0, help='seconds of random walks instead of the search')
    ap.add_argument('--seed', type=int, default=1)
    ap.add_argument('--safety', action='store_true', help='leave the liveness checks out')
    ap.add_argument('--quiet', action='store_true')
    a = ap.parse_args()
    sw = dict(LITERAL if a.base == 'literal' else FIXED)
    for kv in filter(None, a.set.split(',')):
        k, v = kv.split('='); assert k in sw, k; sw[k] = int(v)
    senders = [[int(x) for x in p.split(',')] for p in a.senders.split('/')]
    m = M(sw, senders, a.attempts, a.faults, a.forgets, a.crashes, a.discs, a.steals, a.listener, a.tail, a.seeds, a.rule, a.kinds, a.expiries, a.clock, a.restores)
    t = time.time()
    if a.walk:
        n, wk, q, v, trc = walk(m, a.walk, a.seed)
        print("%s | random steps %d walks %d quiescent %d | %s" % (' '.join(sys.argv[1:]), n, wk, q, "VIOLATION " + v if v else "clean"))
        for i, l in enumerate(trc or ()): print("   %2d %s" % (i+1, l))
        return
    n, tr, d, v, trc, full = explore(m, a.max, a.seconds, a.quiet)
    print("%s | states %d transitions %d depth %d %.0f s | %s" % (' '.join(sys.argv[1:]), n, tr, d, time.time()-t,
          "VIOLATION " + v if v else ("clean, complete" if full else "clean so far, NOT complete")))
    if trc:
        for i, l in enumerate(trc): print("   %2d %s" % (i+1, l))
    sys.stdout.flush()

if __name__ == '__main__': main()
