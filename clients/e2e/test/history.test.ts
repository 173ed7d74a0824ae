import { beforeAll, expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import { scrollUp, watchLongTasks } from "../support/scroll.js";

const COUNT = 10_000;
/** More rows than this would be felt by the browser. */
const ROWS = 200;

const chat = new Chat();
const name = "Ten thousand";
const [writer, reader] = ["gossip", "reader"];
let room = "";

beforeAll(async () => {
  // Two weeks of lines of different length.
  room = await chat.filledRoom(name, [writer], { count: COUNT, text: "Message #" });
  await chat.stack.sql(
    `UPDATE messages SET at = now() - (${COUNT} - seq) * interval '2 minutes', \
     content = content || repeat(' and more of it', (seq * 7)::int % 6) WHERE room_id = '${room}'; \
     INSERT INTO search_progress VALUES ('${room}', ${COUNT}) ON CONFLICT DO NOTHING`,
  );
});

test("ten thousand messages scroll up to the first one, and nothing in sight ever jumps", async () => {
  const ada = await chat.person(reader);
  await chat.http(writer, "PUT", `/rooms/${room}/members/${ada.id}`);
  await chat.http(ada.id, "POST", `/rooms/${room}/read`, { seq: COUNT });
  await ada.signIn();
  await ada.open(name);
  await ada.row(`Message ${COUNT}`).waitFor();
  const longest = await watchLongTasks(ada.messages);
  // As one reads, and then in one long sweep.
  const slow = await scrollUp(ada.messages, { seq: COUNT - 400, px: 200, steps: 700 });
  const began = Date.now();
  const fast = await scrollUp(ada.messages, { seq: 1, px: 2500, steps: 5000 });
  const seconds = ((Date.now() - began) / 1000).toFixed(1);
  const task = await longest();
  process.stdout.write(
    `${slow.looks} looks, moved by ${slow.jumped} px at most; ${slow.oldest - 1} messages more in ${seconds} s; ` +
      `${Math.max(slow.most, fast.most)} rows at most; ${task ? `longest task ${task} ms` : "no task over 50 ms"}\n`,
  );
  expect(slow.oldest).toBeLessThan(COUNT - 350);
  expect(slow.looks).toBeGreaterThan(30);
  expect(slow.jumped).toBeLessThanOrEqual(3);
  expect(fast.oldest).toBe(1);
  expect(Math.max(slow.most, fast.most)).toBeLessThan(ROWS);
  await ada.messages.evaluate((box) => box.scrollTo(0, 0));
  await ada.messages.getByText("This is where").waitFor();
  await expect.poll(() => ada.rows.first().getAttribute("data-seq")).toBe("1");
  // Long enough to be felt by anybody, on a machine that others use as well.
  expect(task).toBeLessThan(1000);

  await ada.page.getByRole("button", { name: "Jump to newest" }).click();
  await ada.row(`Message ${COUNT}`).waitFor();
  await ada.page.getByRole("button", { name: "Jump to newest" }).waitFor({ state: "detached" });
  expect(await ada.rows.count()).toBeLessThan(ROWS);
});

test("what comes while one reads far above moves nothing, and is told beside the way down", async () => {
  const ada = await chat.person(reader);
  await chat.http(writer, "PUT", `/rooms/${room}/members/${ada.id}`);
  const before = (await chat.http<{ head: { seq: number } }>(ada.id, "GET", `/rooms/${room}`)).head.seq;
  await chat.http(ada.id, "POST", `/rooms/${room}/read`, { seq: before });
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
  for (const text of ["news one", "news two"]) await chat.post(writer, room, text);
  const down = ada.page.getByRole("button", { name: "Jump to newest, 2 new" });
  await down.waitFor();
  expect(await places()).toEqual(stood);
  await down.click();
  await ada.row("news two").waitFor();
  await ada.page.getByRole("button", { name: /Jump to newest/ }).waitFor({ state: "detached" });
});
