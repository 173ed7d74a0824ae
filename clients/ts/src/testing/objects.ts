/** The objects of the HTTP interface, as the scripted server gives them. */
import type { Json, ScriptedServer } from "./server.js";

/** One message as HTTP returns it. */
export function messageObject(server: ScriptedServer, event: Json, me: string): Json {
  const changes = server.room(event.room as string).log.filter((other) => other.target === event.seq);
  const message: Json & { reactions: { emoji: string; users: string[] }[] } = {
    ...event,
    last_seq: event.seq,
    reactions: [],
    deleted: false,
  };
  for (const change of changes) {
    if (message.deleted) break;
    const { emoji, by } = change as { emoji: string; by: string };
    let set = message.reactions.find((one) => one.emoji === emoji);
    if (change.type === "message:edited") {
      const { content, mentions = message.mentions } = change;
      Object.assign(message, { content, mentions, edited_at: change.at });
    } else if (change.type === "message:deleted")
      Object.assign(message, { content: "", mentions: null, deleted: true, deleted_by: by });
    else if (change.type === "reaction:added") {
      if (!set) {
        set = { emoji, users: [] };
        message.reactions.push(set);
      }
      if (set.users.includes(by)) continue;
      set.users.push(by);
    } else {
      if (!set?.users.includes(by)) continue;
      set.users = set.users.filter((user) => user !== by);
      message.reactions = message.reactions.filter((one) => one.users.length);
    }
    message.last_seq = change.seq;
  }
  const reactions = message.reactions.map(({ emoji, users }) => ({
    emoji,
    count: users.length,
    mine: users.includes(me),
    users: users.slice(0, 20),
  }));
  return { ...message, reactions };
}

/** When a room had its last message, or was created. */
export function activityTime(server: ScriptedServer, id: string): string {
  const { log, createdAt } = server.room(id);
  const last = log.filter((event) => event.type === "message:new").at(-1);
  return (last?.at as string | undefined) ?? createdAt;
}

/** A room as HTTP returns it. */
export function roomObject(server: ScriptedServer, id: string, me: string): Json {
  const { log, createdAt } = server.room(id);
  const messages = log.filter((event) => event.type === "message:new");
  const last = messages.at(-1);
  const read = server.room(id).read.get(me) ?? 0;
  const gone = new Set(
    log.filter(({ type }) => /:(deleted|void)$/.test(`${type}`)).map(({ target }) => target),
  );
  const unread = messages.filter(
    ({ sender, seq }) => (sender as Json).id !== me && (seq as number) > read && !gone.has(seq),
  );
  const mentionsMe = (event: Json) =>
    (messageObject(server, event, me).mentions as string[] | undefined)?.includes(me);
  return {
    room: id,
    kind: "private",
    name: server.room(id).name,
    created_by: "bob",
    created_at: createdAt,
    updated_at: activityTime(server, id),
    archived: false,
    metadata: null,
    members: server.room(id).others.length + 1,
    role: "member",
    head: server.head(id),
    last_message: last ? server.message(last, me) : null,
    unread: unread.length,
    unread_capped: false,
    unread_mentions: unread.filter(mentionsMe).length,
    read_seq: read,
    notify: server.room(id).notify.get(me) ?? "all",
  };
}
