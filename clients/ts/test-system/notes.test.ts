/**
 * `./dev play --client ts` finds errors of the kit with the records of notes.mjs. These tests check that notes.mjs
 * detects such errors.
 */
import { expect, test } from "vitest";
// @ts-expect-error plain JavaScript, which Node runs as it is
import { Notes } from "../play/notes.mjs";

const event = (seq: number) => ({
  type: "message:new",
  room: "r",
  seq,
  id: `id-${seq}`,
  client_id: `c-${seq}`,
  sender: { id: "alice" },
  content: `text ${seq}`,
});
const item = (seq: number) => ({
  seq,
  id: `id-${seq}`,
  clientId: `c-${seq}`,
  sender: { id: "alice" },
  content: `text ${seq}`,
});
const list = (...seqs: number[]) => ({ items: seqs.map(item), hasOlder: (seqs[0] ?? 1) > 1 });

function notesAfter(...seqs: number[]) {
  const notes = new Notes();
  notes.onLive(list());
  for (const seq of seqs) notes.onEvent(event(seq));
  return notes;
}

test("ordered events that are shown count as held, from the beginning on", () => {
  const result = notesAfter(1, 2, 3).result(list(1, 2, 3));
  expect(result).toMatchObject({ came: true, start: 0, cursor: 3, duplicated: 0, reordered: 0, others: 0 });
  expect(result.messages).toHaveLength(3);
});

test("a repeated or late event is noted", () => {
  expect(notesAfter(1, 2, 2).result(list(1, 2))).toMatchObject({ duplicated: 1, reordered: 0 });
  expect(notesAfter(2, 1).result(list(1, 2))).toMatchObject({ duplicated: 0, reordered: 1 });
});

test("a repeated, misplaced or missing row is noted", () => {
  expect(notesAfter(1, 2).result(list(1, 2, 2))).toMatchObject({ duplicated: 1 });
  expect(notesAfter(1, 2).result(list(2, 1))).toMatchObject({ reordered: 1 });
  expect(notesAfter(1, 2).result({ items: [item(1)], hasOlder: false })).toMatchObject({ others: 1 });
});

test("a reloaded list may begin later, and a continued list may not", () => {
  const reloaded = notesAfter(1, 2);
  reloaded.onLive(list(300, 301));
  expect(reloaded.result(list(300, 301))).toMatchObject({ start: 299, cursor: 301 });
  const continued = notesAfter(1, 2);
  continued.onLive({ items: [item(2), item(3)], hasOlder: true });
  expect(continued.result({ items: [item(2), item(3)], hasOlder: true })).toMatchObject({
    start: 0,
    cursor: 3,
  });
});

test("a person who never connected holds nothing", () => {
  expect(new Notes().result(list())).toMatchObject({ came: false, messages: [] });
});
