/** Comparison of the shown rows of a room with the stored ones. */
import { expect } from "vitest";
import type { LogEvent, Message, MessageObject, ServerFrame } from "../../src/index.js";
import type { Person } from "./person.js";
import type { System } from "./system.js";
import { waitUntil } from "./until.js";

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

const comparableReactions = (of: Message["reactions"]) =>
  of.map(({ emoji, count, mine, users }) => ({ emoji, count, mine, users: [...users] }));

/** The fields that must be equal in a row and in storage. */
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
  reactions: comparableReactions(message.reactions),
});

/** The same fields of a stored message. */
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
  reactions: comparableReactions(message.reactions ?? []),
});

/**
 * Waits until the shown rows of a room equal its newest stored messages, or all of them if the room reports no older
 * ones. Failed messages do not count. No key may appear twice.
 */
export async function expectShownEqualsStored(
  system: System,
  person: Person,
  room: string,
  timeoutMs = 20_000,
): Promise<void> {
  await waitUntil(
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
    timeoutMs,
  );
}

/** Expects that no event of a room was emitted twice or out of order. */
export function expectInOrder(person: Person, room: string): void {
  const seqs = person.events.filter((event) => event.room === room).map(({ seq }) => seq);
  expect(seqs).toEqual([...new Set(seqs)].sort((a, b) => a - b));
}

/** Expects that every message of a room above a position was emitted once and in order. */
export async function expectAllEmitted(
  system: System,
  person: Person,
  room: string,
  above = 0,
): Promise<void> {
  expectInOrder(person, room);
  const emitted = person.events.filter(
    ({ type, room: of, seq }) => type === "message:new" && of === room && seq > above,
  );
  const stored = (await history(system, person.id, room)).filter(({ seq }) => seq > above);
  expect(emitted.map(({ seq }) => seq)).toEqual(stored.map(({ seq }) => seq));
}

/** The number of frames of a type. */
export const countFrames = (frames: readonly ServerFrame[], type: ServerFrame["type"]): number =>
  frames.filter((frame) => frame.type === type).length;
