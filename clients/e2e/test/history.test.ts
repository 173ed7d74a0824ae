import { expect, test } from "vitest";
import { LongRoom, testScroll } from "../support/history.js";
import type { Person } from "../support/person.js";
import { scrollUp } from "../support/scroll.js";

const COUNT = 2000;
const room = new LongRoom(COUNT);
const { chat, name } = room;

/** The messages in the view, and where they are. */
const positions = ({ messages }: Person) =>
  messages.evaluate((box) => {
    const { top, bottom } = box.getBoundingClientRect();
    return [...box.querySelectorAll("article")]
      .map((row) => ({ seq: row.dataset.seq, at: Math.round(row.getBoundingClientRect().top) }))
      .filter(({ at }) => at >= top && at < bottom);
  });

testScroll(room, "two thousand");

test("a room that is opened again at once shows the same messages at the same place", async () => {
  const ada = await chat.person(room.reader);
  const other = chat.name("Another room");
  await chat.room(other, [ada.id]);
  await chat.http(room.writer, "PUT", `/rooms/${room.id}/members/${ada.id}`);
  await chat.http(ada.id, "POST", `/rooms/${room.id}/read`, { seq: COUNT });
  await ada.signIn();
  await ada.open(name);
  await ada.row(`Message ${COUNT}`).waitFor();
  await scrollUp(ada.messages, { seq: COUNT - 250, px: 600, steps: 300 });
  await expect.poll(() => ada.messages.getAttribute("aria-busy")).toBe("false");
  const positionsBefore = await positions(ada);
  expect(positionsBefore.length).toBeGreaterThan(3);
  await ada.open(other);
  await ada.open(name);
  await expect.poll(() => positions(ada)).toEqual(positionsBefore);
});

test("new messages do not move an old part of the history, and the jump button counts them", async () => {
  const ada = await chat.person(room.reader);
  await chat.http(room.writer, "PUT", `/rooms/${room.id}/members/${ada.id}`);
  const headSeq = (await chat.http<{ head: { seq: number } }>(ada.id, "GET", `/rooms/${room.id}`)).head.seq;
  await chat.http(ada.id, "POST", `/rooms/${room.id}/read`, { seq: headSeq });
  await ada.signIn();
  await ada.open(name);
  await ada.row(`Message ${COUNT}`).waitFor();
  await scrollUp(ada.messages, { seq: COUNT - 150, px: 600, steps: 200 });
  await expect.poll(() => ada.messages.getAttribute("aria-busy")).toBe("false");
  const positionsBefore = await positions(ada);
  expect(positionsBefore.length).toBeGreaterThan(3);
  for (const text of ["new message one", "new message two"]) await chat.post(room.writer, room.id, text);
  const jumpButton = ada.page.getByRole("button", { name: "Jump to newest, 2 new" });
  await jumpButton.waitFor();
  expect(await positions(ada)).toEqual(positionsBefore);
  await jumpButton.click();
  await ada.row("new message two").waitFor();
  await ada.page.getByRole("button", { name: /Jump to newest/ }).waitFor({ state: "detached" });
});
