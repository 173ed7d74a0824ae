/** A room with a long history, and a test that scrolls through all of it. */
import { beforeAll, expect, test } from "vitest";
import { Chat } from "./chat.js";
import { printFigures, watchFrames, watchLongTasks } from "./measure.js";
import { scrollUp } from "./scroll.js";

/** With more rows in the page the browser would become slow. */
const MAX_ROWS = 200;
const [writer, reader] = ["gossip", "reader"];

/** The room of one test file. Create one at the top of the file. */
export class LongRoom {
  readonly chat = new Chat();
  readonly writer = writer;
  readonly reader = reader;
  readonly name: string;
  id = "";

  constructor(readonly count: number) {
    // Two files may fill rooms in one environment: the count makes the names of the rooms different.
    this.name = `${count.toLocaleString("en")} messages`;
    beforeAll(async () => {
      const { chat, name } = this;
      this.id = await chat.filledRoom(name, [writer], { count, text: "Message #" });
      // The lines have different lengths. Ten thousand of them cover two weeks.
      await chat.stack.sql(
        `UPDATE messages SET at = now() - (${count} - seq) * interval '2 minutes', \
         content = content || repeat(' and more of it', (seq * 7)::int % 6) WHERE room_id = '${this.id}'; \
         INSERT INTO search_progress VALUES ('${this.id}', ${count}) ON CONFLICT DO NOTHING`,
      );
    });
  }
}

/**
 * Defines a test that scrolls up through `room.count` messages, and prints the times between frames. `countName` is
 * that count in the title.
 */
export function testScroll(room: LongRoom, countName: string): void {
  const { chat, count, name } = room;
  test(`a user scrolls up through ${countName} messages, and visible messages never jump`, async () => {
    const ada = await chat.person(reader);
    await chat.http(writer, "PUT", `/rooms/${room.id}/members/${ada.id}`);
    await chat.http(ada.id, "POST", `/rooms/${room.id}/read`, { seq: count });
    await ada.signIn();
    await ada.open(name);
    await ada.row(`Message ${count}`).waitFor();
    const longTasks = await watchLongTasks(ada.page);
    const frameTimes = await watchFrames(ada.page);
    // Scrolls slowly at first, as a reader does, and then fast.
    const slowScroll = await scrollUp(ada.messages, { seq: count - 400, px: 200, steps: 700 });
    const startedAt = Date.now();
    const fastScroll = await scrollUp(ada.messages, { seq: 1, px: 2500, steps: 5000 });
    const fastScrollMs = Date.now() - startedAt;
    const maxRows = Math.max(slowScroll.maxRows, fastScroll.maxRows);
    const frames = await frameTimes();
    const longestTaskMs = Math.max(0, ...(await longTasks()));
    printFigures("scroll", {
      messages: count,
      samples: slowScroll.samples,
      largestJumpPx: slowScroll.largestJump,
      fastScrollMs,
      maxRows,
      frames,
      longestTaskMs,
    });
    expect(slowScroll.oldest).toBeLessThan(count - 350);
    expect(slowScroll.samples).toBeGreaterThan(30);
    expect(slowScroll.largestJump).toBeLessThanOrEqual(3);
    expect(fastScroll.oldest).toBe(1);
    expect(maxRows).toBeLessThan(MAX_ROWS);
    await ada.messages.evaluate((box) => box.scrollTo(0, 0));
    await ada.messages.getByText("This is the beginning of").waitFor();
    await expect.poll(() => ada.rows.first().getAttribute("data-seq")).toBe("1");
    // A longer task or frame would be a visible delay. The limits are generous, because the machine is shared.
    expect(longestTaskMs).toBeLessThan(3000);
    expect(frames.p99).toBeLessThan(3000);

    await ada.page.getByRole("button", { name: "Jump to newest" }).click();
    await ada.row(`Message ${count}`).waitFor();
    await ada.page.getByRole("button", { name: "Jump to newest" }).waitFor({ state: "detached" });
    expect(await ada.rows.count()).toBeLessThan(MAX_ROWS);
  });
}
