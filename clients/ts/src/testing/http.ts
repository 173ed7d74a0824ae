/** The HTTP interface of the scripted server, and its long polls. */
import { activityTime } from "./objects.js";
import type { Answer, Json, ScriptedServer, Session } from "./server.js";

/** Answers a request of the HTTP interface. */
export async function answerRequest(
  server: ScriptedServer,
  method: string,
  url: string,
  token: string,
  body: Json | undefined,
): Promise<Answer> {
  const { pathname, searchParams } = new URL(url);
  const path = pathname.replace("/v1", "");
  server.requests.push(`${method} ${path}${searchParams.size ? `?${searchParams}` : ""}`);
  const otherwise = server.http?.(method, path, body);
  if (otherwise) return otherwise;
  if (path === "/transport") return { status: 200, body: { websocket: server.websocket } };
  if (server.refuse?.(token)) return { status: 401, body: { code: "unauthorized" } };
  const me = token.split(".")[0] as string;
  if (path === "/poll") return { status: 200, body: await server.poll(me, body ?? {}) };
  if (path === "/me/rooms") {
    // The key of a room sorts as the list does: the latest activity first.
    const keyed = [...server.rooms.keys()].map((id) => {
      const age = Number.MAX_SAFE_INTEGER - Date.parse(activityTime(server, id));
      return { id, key: `${age} ${id}` };
    });
    const after = keyed
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .filter(({ key }) => key > (searchParams.get("cursor") ?? ""));
    const page = after.slice(0, Number(searchParams.get("limit") ?? 50));
    const rooms = page.map(({ id }) => server.object(id, me));
    const next = after.length > page.length ? page.at(-1)?.key : null;
    return { status: 200, body: { rooms, next, rooms_version: server.version } };
  }
  if (path === "/me/people") {
    const query = searchParams.get("query") ?? "";
    const rooms = [...server.rooms.values()].filter(({ id }) => id === (searchParams.get("room") ?? id));
    const found = new Set(rooms.flatMap(({ others }) => others).filter((user) => user.startsWith(query)));
    return { status: 200, body: { people: [...found].map((user) => ({ user, name: null, picture: null })) } };
  }
  const [, , id = "", what] = path.split("/");
  if (!server.rooms.has(id)) return { status: 404, body: { code: "not_found" } };
  const number = (name: string) => (searchParams.has(name) ? Number(searchParams.get(name)) : undefined);
  const limit = number("limit") ?? 50;
  const log = server.room(id).log;
  if (what === undefined) return { status: 200, body: server.object(id, me) };
  if (what === "me") {
    server.room(id).notify.set(me, body?.notify as string);
    server.version += "+";
    server.push({ type: "rooms:changed", rooms_version: server.version });
    return { status: 200, body: { notify: body?.notify } };
  }
  if (what === "messages") {
    const before = number("before") ?? Number.POSITIVE_INFINITY;
    const all = log.filter((event) => event.type === "message:new" && (event.seq as number) < before);
    const voided = new Set(log.filter((event) => event.type === "message:void").map((event) => event.target));
    const left = all.filter((event) => !voided.has(event.seq));
    const seqAt = (at: number) => left[at]?.seq as number;
    const [after, around] = [number("after"), number("around")];
    let first = left.length - limit;
    let end = left.length;
    if (after !== undefined) first = left.findIndex((event) => (event.seq as number) > after);
    if (after !== undefined && first < 0) first = left.length;
    if (around !== undefined) {
      let middle = left.findIndex((event) => (event.seq as number) >= around);
      if (middle < 0) middle = left.length;
      first = middle - (limit >> 1);
    }
    first = Math.max(0, first);
    if (after !== undefined || around !== undefined) end = Math.min(left.length, first + limit);
    const messages = left.slice(first, end).map((event) => server.message(event, me));
    const has_after = end < left.length || (number("before") !== undefined && seqAt(end - 1) < log.length);
    const from = after ?? (first > 0 ? seqAt(first) : 0);
    const to = has_after && number("before") === undefined ? seqAt(end - 1) : before;
    const system_events = log.filter(
      ({ type, seq }) =>
        /^(member:|room:updated)/.test(String(type)) && (seq as number) > from && (seq as number) < to,
    );
    return {
      status: 200,
      body: { messages, head: server.head(id), has_before: first > 0, has_after, system_events },
    };
  }
  if (what === "events") {
    const after = number("after") ?? 0;
    if (searchParams.has("epoch") && searchParams.get("epoch") !== String(server.epoch)) {
      return { status: 409, body: { code: "conflict", after: server.room(id).epochStart } };
    }
    const events = log.slice(after, after + limit);
    const seq = after + events.length;
    const next = { epoch: String(server.epoch), seq };
    return { status: 200, body: { events, next, head: server.head(id), more: seq < log.length } };
  }
  if (what === "receipts") {
    const receipts = [...server.room(id).read].map(([user, read_seq]) => ({
      user,
      read_seq,
      delivered_seq: read_seq,
    }));
    return { status: 200, body: { receipts } };
  }
  if (what === "members") {
    const others = server.room(id).others.map((user) => ({ user, role: "member" }));
    const all = [{ user: me, role: "owner" }, ...others].sort((a, b) => (a.user < b.user ? -1 : 1));
    const end = (number("cursor") ?? 0) + limit;
    const next = end < all.length ? `${end}` : null;
    return { status: 200, body: { members: all.slice(end - limit, end), next } };
  }
  return { status: 404, body: { code: "not_found" } };
}

/** One poll. It answers at once, because the clock of the tests decides how long a poll waits. */
export async function answerPoll(server: ScriptedServer, user: string, body: Json): Promise<Json> {
  const events: Json[] = [];
  const answers: Json[] = [];
  const cursors: Json = {};
  const session: Session = {
    user,
    joined: new Set(),
    send: (frame) => void answers.push(frame),
    close: () => {},
  };
  for (const command of (body.commands as Json[] | undefined) ?? []) server.frame(session, command);
  for (const [id, after] of Object.entries((body.cursors as Json | undefined) ?? {})) {
    for (const event of server.replay(id, (after as Json | null) ?? server.head(id))) {
      if (event.type !== "room:caught_up") events.push(event);
    }
    cursors[id] = server.head(id);
  }
  return {
    events,
    cursors,
    answers,
    failed: [],
    rooms_version: server.version,
    websocket: server.websocket,
    user,
    server_time: server.at(),
    limits: { max_message_chars: 1000, max_frame_bytes: 65536, messages_per_second: 10 },
  };
}
