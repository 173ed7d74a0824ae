/** The notes that `./dev play --client ts` judges the kit by: they see what it does wrong. */
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

function given(...seqs: number[]) {
  const notes = new Notes();
  notes.live(list());
  for (const seq of seqs) notes.hear(event(seq));
  return notes;
}

test("what was given in order and is shown is held, from the beginning on", () => {
  const told = given(1, 2, 3).told(list(1, 2, 3));
  expect(told).toMatchObject({ came: true, start: 0, cursor: 3, duplicated: 0, reordered: 0, others: 0 });
  expect(told.messages).toHaveLength(3);
});

test("an event that is given twice, or behind a later one, is noted", () => {
  expect(given(1, 2, 2).told(list(1, 2))).toMatchObject({ duplicated: 1, reordered: 0 });
  expect(given(2, 1).told(list(1, 2))).toMatchObject({ duplicated: 0, reordered: 1 });
});

test("a row that is shown twice, out of order, or not at all, is noted", () => {
  expect(given(1, 2).told(list(1, 2, 2))).toMatchObject({ duplicated: 1 });
  expect(given(1, 2).told(list(2, 1))).toMatchObject({ reordered: 1 });
  expect(given(1, 2).told({ items: [item(1)], hasOlder: false })).toMatchObject({ others: 1 });
});

test("a list that was read anew begins where it begins, and one that went on does not", () => {
  const anew = given(1, 2);
  anew.live(list(300, 301));
  expect(anew.told(list(300, 301))).toMatchObject({ start: 299, cursor: 301 });
  const on = given(1, 2);
  on.live({ items: [item(2), item(3)], hasOlder: true });
  expect(on.told({ items: [item(2), item(3)], hasOlder: true })).toMatchObject({ start: 0, cursor: 3 });
});

test("who never came holds nothing", () => {
  expect(new Notes().told(list())).toMatchObject({ came: false, messages: [] });
});
