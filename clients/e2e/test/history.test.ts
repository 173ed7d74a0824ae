import { expect, test } from "vitest";
import { LongRoom, testScroll } from "../support/history.js";
import { scrollUp } from "../support/scroll.js";

const COUNT = 2000;
const room = new LongRoom(COUNT);
const { chat, name } = room;

testScroll(room, "two thousand");

test("what comes while one reads far above moves nothing, and is told beside the way down", async () => {
  const ada = await chat.person(room.reader);
  await chat.http(room.writer, "PUT", `/rooms/${room.id}/members/${ada.id}`);
  const before = (await chat.http<{ head: { seq: number } }>(ada.id, "GET", `/rooms/${room.id}`)).head.seq;
  await chat.http(ada.id, "POST", `/rooms/${room.id}/read`, { seq: before });
  await ada.signIn();
  await ada.open(name);
  await ada.row(`Message ${COUNT}`).waitFor();
  await scrollUp(ada.messages, { seq: COUNT - 150, px: 600, steps: 200 });
  const places = () =>
    ada.messages.evaluate((box) => {
      const { top, bottom } = box.getBoundingClientRect();
      return [...box.querySelectorAll("article")]
        .map((row) => ({ seq: row.dataset.seq, at: Math.round(row.getBoundingClientRect().top) }))
        .filter(({ at }) => at >= top && at < bottom);
    });
  await expect.poll(() => ada.messages.getAttribute("aria-busy")).toBe("false");
  const stood = await places();
  expect(stood.length).toBeGreaterThan(3);
  for (const text of ["news one", "news two"]) await chat.post(room.writer, room.id, text);
  const down = ada.page.getByRole("button", { name: "Jump to newest, 2 new" });
  await down.waitFor();
  expect(await places()).toEqual(stood);
  await down.click();
  await ada.row("news two").waitFor();
  await ada.page.getByRole("button", { name: /Jump to newest/ }).waitFor({ state: "detached" });
});
