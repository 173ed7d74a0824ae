/** What storage says of a room, and whether that is what somebody is shown. */
import { expect } from "vitest";
import type { LogEvent, Message, MessageObject, ServerFrame } from "../../src/index.js";
import type { Person } from "./person.js";
import type { System } from "./system.js";
import { until } from "./until.js";

interface Page {
  messages: MessageObject[];
  has_before: boolean;
}

/** All messages of a room that a user may see, ascending. */
export async function history(system: System, user: string, room: string): Promise<MessageObject[]> {
  const all: MessageObject[] = [];
  for (let before = ""; ; before = `&before=${all[0]?.seq}`) {
    const path = `/rooms/${encodeURIComponent(room)}/messages?limit=200${before}`;
    const page = await system.http<Page>(user, "GET", path);
    all.unshift(...page.messages);
    if (!page.has_before) return all;
  }
}

/** The whole log of a room that a user may see. */
export async function log(system: System, user: string, room: string): Promise<LogEvent[]> {
  const all: LogEvent[] = [];
  for (let after = 0; ; ) {
    const page = await system.http<{ events: LogEvent[]; next: { seq: number }; more: boolean }>(
      user,
      "GET",
      `/rooms/${encodeURIComponent(room)}/events?limit=200&after=${after}`,
    );
    all.push(...page.events);
    after = page.next.seq;
    if (!page.more) return all;
  }
}

const reactions = (of: Message["reactions"]) =>
  of.map(({ emoji, count, mine, users }) => ({ emoji, count, mine, users: [...users] }));

/** What must be the same in a row and in storage. */
export const shownRow = (message: Message) => ({
  seq: message.seq,
  id: message.id,
  client_id: message.clientId,
  sender: message.sender.id,
  kind: message.kind,
  content: message.content,
  reply_to: message.replyTo ?? null,
  edited: message.editedAt ?? null,
  deleted: message.deleted,
  last_seq: message.lastSeq,
  reactions: reactions(message.reactions),
});

/** The same of storage. */
export const storedRow = (message: MessageObject): ReturnType<typeof shownRow> => ({
  seq: message.seq,
  id: message.id,
  client_id: message.client_id,
  sender: message.sender.id,
  kind: message.kind,
  content: message.content,
  reply_to: message.reply_to ?? null,
  edited: message.edited_at ? Date.parse(message.edited_at) : null,
  deleted: message.deleted ?? false,
  last_seq: message.last_seq,
  reactions: reactions(message.reactions ?? []),
});

/**
 * Waits until what somebody is shown of a room is what storage says: all of it where nothing older is left out,
 * else its newest part. Then every row but those that failed has its place, and none is there twice.
 */
export async function expectWhole(
  system: System,
  person: Person,
  room: string,
  patience = 20_000,
): Promise<void> {
  await until(
    `${person.id} is shown what is stored of ${room}`,
    async () => {
      const stored = (await history(system, person.id, room)).map(storedRow);
      const { items, hasOlder } = person.client.room(room).messages.get();
      const shown = items.filter(({ status }) => status !== "failed").map(shownRow);
      const wanted = hasOlder ? stored.filter(({ seq }) => (seq ?? 0) >= (shown[0]?.seq ?? 0)) : stored;
      expect(shown.map(({ seq }) => seq)).toEqual(wanted.map(({ seq }) => seq));
      expect(shown).toEqual(wanted);
      if (hasOlder) expect(shown.at(-1)?.seq).toBe(stored.at(-1)?.seq);
      expect(new Set(items.map(({ key }) => key)).size).toBe(items.length);
    },
    patience,
  );
}

/** No event of a room was told twice, or behind a later one. */
export function expectInOrder(person: Person, room: string): void {
  const seqs = person.events.filter((event) => event.room === room).map(({ seq }) => seq);
  expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
}

/** Every message of a room above a position was told as an event, once and in order. */
export async function expectAllTold(system: System, person: Person, room: string, above = 0): Promise<void> {
  expectInOrder(person, room);
  const told = person.events.filter(
    ({ type, room: of, seq }) => type === "message:new" && of === room && seq > above,
  );
  const stored = (await history(system, person.id, room)).filter(({ seq }) => seq > above);
  expect(told.map(({ seq }) => seq)).toEqual(stored.map(({ seq }) => seq));
}

/** How many frames of a type came. */
export const count = (frames: readonly ServerFrame[], type: ServerFrame["type"]): number =>
  frames.filter((frame) => frame.type === type).length;
