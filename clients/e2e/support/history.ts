/** A room with a long history, and what a person sees who scrolls through all of it. */
import { beforeAll, expect, test } from "vitest";
import { Chat } from "./chat.js";
import { scrollUp, watchLongTasks } from "./scroll.js";

/** More rows than this would be felt by the browser. */
const ROWS = 200;
const [writer, reader] = ["gossip", "reader"];

/** The room of one file. Make one at the top of the file. */
export class LongRoom {
  readonly chat = new Chat();
  readonly writer = writer;
  readonly reader = reader;
  readonly name: string;
  id = "";

  constructor(readonly count: number) {
    // Two files may fill rooms in one world: the count keeps the names of the rooms apart.
    this.name = `${count.toLocaleString("en")} messages`;
    beforeAll(async () => {
      const { chat, name } = this;
      this.id = await chat.filledRoom(name, [writer], { count, text: "Message #" });
      // Two weeks of lines of different length, for ten thousand of them.
      await chat.stack.sql(
        `UPDATE messages SET at = now() - (${count} - seq) * interval '2 minutes', \
         content = content || repeat(' and more of it', (seq * 7)::int % 6) WHERE room_id = '${this.id}'; \
         INSERT INTO search_progress VALUES ('${this.id}', ${count}) ON CONFLICT DO NOTHING`,
      );
    });
  }
}

/** Defines a test that scrolls up through `room.count` messages. `words` names that count in the title. */
export function testScroll(room: LongRoom, words: string): void {
  const { chat, count, name } = room;
  test(`${words} messages scroll up to the first one, and nothing in sight ever jumps`, async () => {
    const ada = await chat.person(reader);
    await chat.http(writer, "PUT", `/rooms/${room.id}/members/${ada.id}`);
    await chat.http(ada.id, "POST", `/rooms/${room.id}/read`, { seq: count });
    await ada.signIn();
    await ada.open(name);
    await ada.row(`Message ${count}`).waitFor();
    const longest = await watchLongTasks(ada.messages);
    // As one reads, and then in one long sweep.
    const slow = await scrollUp(ada.messages, { seq: count - 400, px: 200, steps: 700 });
    const began = Date.now();
    const fast = await scrollUp(ada.messages, { seq: 1, px: 2500, steps: 5000 });
    const seconds = ((Date.now() - began) / 1000).toFixed(1);
    const task = await longest();
    process.stdout.write(
      `${slow.looks} looks, moved by ${slow.jumped} px at most; ${slow.oldest - 1} messages more in ${seconds} s; ` +
        `${Math.max(slow.most, fast.most)} rows at most; ${task ? `longest task ${task} ms` : "no task over 50 ms"}\n`,
    );
    expect(slow.oldest).toBeLessThan(count - 350);
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
    await ada.row(`Message ${count}`).waitFor();
    await ada.page.getByRole("button", { name: "Jump to newest" }).waitFor({ state: "detached" });
    expect(await ada.rows.count()).toBeLessThan(ROWS);
  });
}
