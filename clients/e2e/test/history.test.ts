import { expect, test } from "vitest";
import { LongRoom, testScroll } from "../support/history.js";
import { scrollUp } from "../support/scroll.js";

const COUNT = 2000;
const room = new LongRoom(COUNT);
const { chat, name } = room;

testScroll(room, "two thousand");

test("new messages do not move an old part of the history, and the jump button counts them", async () => {
  const ada = await chat.person(room.reader);
  await chat.http(room.writer, "PUT", `/rooms/${room.id}/members/${ada.id}`);
  const headSeq = (await chat.http<{ head: { seq: number } }>(ada.id, "GET", `/rooms/${room.id}`)).head.seq;
  await chat.http(ada.id, "POST", `/rooms/${room.id}/read`, { seq: headSeq });
  await ada.signIn();
  await ada.open(name);
  await ada.row(`Message ${COUNT}`).waitFor();
  await scrollUp(ada.messages, { seq: COUNT - 150, px: 600, steps: 200 });
  const positions = () =>
    ada.messages.evaluate((box) => {
      const { top, bottom } = box.getBoundingClientRect();
      return [...box.querySelectorAll("article")]
        .map((row) => ({ seq: row.dataset.seq, at: Math.round(row.getBoundingClientRect().top) }))
        .filter(({ at }) => at >= top && at < bottom);
    });
  await expect.poll(() => ada.messages.getAttribute("aria-busy")).toBe("false");
  const positionsBefore = await positions();
  expect(positionsBefore.length).toBeGreaterThan(3);
  for (const text of ["new message one", "new message two"]) await chat.post(room.writer, room.id, text);
  const jumpButton = ada.page.getByRole("button", { name: "Jump to newest, 2 new" });
  await jumpButton.waitFor();
  expect(await positions()).toEqual(positionsBefore);
  await jumpButton.click();
  await ada.row("new message two").waitFor();
  await ada.page.getByRole("button", { name: /Jump to newest/ }).waitFor({ state: "detached" });
});
