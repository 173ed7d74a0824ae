import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { usesFirefox } from "../setup/browser.js";
import { accessibilityFaults } from "../support/axe.js";
import { Chat } from "../support/chat.js";
import { focusedElement } from "../support/keys.js";
import { printFigures, watchFirstRow } from "../support/measure.js";

const chat = new Chat();

/** Collects the requests for pages of messages. */
function collectPageRequests(page: Page): string[] {
  const urls: string[] = [];
  page.on("request", (request) => {
    const { pathname, search } = new URL(request.url());
    if (pathname.endsWith("/messages") && request.method() === "GET") urls.push(search);
  });
  return urls;
}

const readSeq = async (user: string, room: string) => {
  const { receipts } = await chat.http<{ receipts: { user: string; read_seq: number }[] }>(
    user,
    "GET",
    `/rooms/${room}/receipts`,
  );
  return receipts.find((receipt) => receipt.user === user)?.read_seq;
};

test("a room with 3,000 unread messages opens at the first of them, with one request", async () => {
  const ada = await chat.person("Ada");
  const name = chat.name("Busy");
  const room = await chat.filledRoom(name, ["carol", ada.id], { count: 5400, text: "line #.", read: 2400 });
  await ada.signIn();
  const pageRequests = collectPageRequests(ada.page);
  const firstRow = await watchFirstRow(ada.page);
  await ada.roomLink(name).click();
  await ada.row("line 2401.").waitFor();
  const firstRowMs = await firstRow();
  printFigures("open room", { unread: 3000, firstRowMs, pageRequests: pageRequests.length });
  expect(pageRequests.length).toBe(1);
  expect(firstRowMs).toBeLessThan(5000);
  const rowAboveDivider = ada.page.locator("article:has(+ [data-key=unread])");
  expect(await rowAboveDivider.locator(".tidings-bubble-text").textContent()).toBe("line 2400.");
  await chat.screenshot(ada, "window-unread");

  // Messages that the user did not see stay unread, also after a jump to the newest message.
  await ada.page.getByRole("button", { name: /^Jump to newest/ }).click();
  await ada.row("line 5400.").waitFor();
  const pill = ada.page.getByRole("button", { name: /^99\+ new since / });
  await pill.waitFor();
  await chat.screenshot(ada, "window-pill");
  await ada.roomLink(name).getByText("99+ unread").waitFor();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(await readSeq(ada.id, room)).toBeLessThan(2460);

  await pill.click();
  await ada.row("line 2401.").or(ada.row("line 2402.")).first().waitFor();
  await pill.waitFor({ state: "detached" });
  await ada.page.getByRole("button", { name: /^Jump to newest/ }).click();
  await ada.row("line 5400.").waitFor();
  await ada.page.getByRole("button", { name: "Mark all as read" }).click();
  await ada.roomLink(name).getByText("unread").waitFor({ state: "detached" });
  await expect.poll(() => readSeq(ada.id, room)).toBe(5400);
});

test("a link to a message opens the room there, with one request", async () => {
  const ada = await chat.person("Ada");
  const name = chat.name("Linked");
  const room = await chat.filledRoom(name, ["carol", ada.id], { count: 5400, text: "line #.", read: 2400 });
  await ada.signIn();
  const pageRequests = collectPageRequests(ada.page);
  // Records every message that the page shows, also those that are visible for one frame only.
  await ada.page.evaluate(() => {
    const seen = new Set<string>();
    Object.assign(window, { seen });
    const record = () => {
      for (const row of document.querySelectorAll<HTMLElement>("article[data-seq]")) {
        seen.add(row.dataset.seq ?? "");
      }
      requestAnimationFrame(record);
    };
    record();
  });
  await ada.page.evaluate((hash) => {
    window.location.hash = hash;
  }, `#/room/${room}/at/1200`);
  await ada.row("line 1200.").waitFor();
  await expect.poll(() => focusedElement(ada).then((at) => at.name)).toContain("line 1200.");
  const seen = await ada.page.evaluate(() => [...(window as unknown as { seen: Set<string> }).seen]);
  expect(seen).toContain("1200");
  expect(seen.map(Number).filter((seq) => seq < 1100 || seq > 1300)).toEqual([]);
  expect(pageRequests.length).toBe(1);
  expect(new URL(ada.page.url()).hash).toBe(`#/room/${room}`);
});

// The content security policy of the page would block the script that looks for faults. Playwright cannot switch it off
// in Firefox.
test.skipIf(usesFirefox)("the pill of skipped messages is accessible, on a dark phone too", async () => {
  const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, colorScheme: "dark" as const };
  for (const [part, device] of Object.entries({ light: {}, dark: phone })) {
    const ada = await chat.person("Ada", { device: { ...device, bypassCSP: true } });
    const name = chat.name("Pill");
    await chat.filledRoom(name, ["carol", ada.id], { count: 400, text: "line #.", read: 100 });
    await ada.signIn();
    await ada.open(name);
    await ada.row("line 101.").waitFor();
    await ada.page.getByRole("button", { name: /^Jump to newest/ }).click();
    await ada.page.getByRole("button", { name: /new since/ }).waitFor();
    await chat.screenshot(ada, `window-pill-${part}`);
    // Nothing is wider than the screen, so nothing can be scrolled out of it.
    const shell = ada.page.locator(".tidings-shell");
    expect(await shell.evaluate((box) => box.scrollWidth - box.clientWidth)).toBe(0);
    expect(await accessibilityFaults(ada)).toEqual([]);
  }
});

test("on a slow link no message that was not shown counts as read", async () => {
  const ada = await chat.person("Ada");
  const name = chat.name("Slow");
  const room = await chat.filledRoom(name, ["carol", ada.id], { count: 1400, text: "line #.", read: 176 });
  await ada.signIn();
  await ada.page.route("**/v1/rooms/**", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue();
  });
  await ada.open(name);
  await ada.row("line 177.").waitFor();
  await new Promise((resolve) => setTimeout(resolve, 7000));
  const lastShownSeq = await ada.rows.evaluateAll((rows) =>
    Math.max(...rows.map((row) => Number(row.dataset.seq))),
  );
  expect(await readSeq(ada.id, room)).toBeLessThanOrEqual(lastShownSeq);
  expect(lastShownSeq).toBeLessThan(300);
  await ada.roomLink(name).getByText("99+ unread").waitFor();
  await ada.page.unrouteAll({ behavior: "ignoreErrors" });
});

test("reading on loads the newer messages, and visible messages never jump", async () => {
  const ada = await chat.person("Ada");
  const name = chat.name("Onwards");
  const room = await chat.filledRoom(name, ["carol", ada.id], { count: 400, text: "line #.", read: 200 });
  await ada.signIn();
  await ada.open(name);
  await ada.row("line 201.").waitFor();
  // The end of the loaded messages is reached before the next page arrives.
  await ada.page.route("**/messages?*", async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 400));
    await route.continue();
  });
  const largestJump = await ada.messages.evaluate(async (box) => {
    const rows = () => [...box.querySelectorAll<HTMLElement>("article[data-seq]")];
    const topOf = (row: Element | null | undefined) => row?.getBoundingClientRect().top ?? Number.NaN;
    let largest = 0;
    for (let step = 0; step < 400; step++) {
      const view = box.getBoundingClientRect();
      const tracked = rows().findLast((row) => topOf(row) > view.top && topOf(row) < view.bottom);
      const [before, from] = [topOf(tracked), box.scrollTop];
      // If the last page arrives only during this step, there is more to scroll.
      const isLoaded = rows().at(-1)?.dataset.seq === "400";
      box.scrollTop = from + 120;
      const moved = box.scrollTop - from;
      await new Promise<void>((done) => requestAnimationFrame(() => setTimeout(done, 10)));
      const after = topOf(rows().find((row) => row.dataset.seq === tracked?.dataset.seq));
      if (Number.isFinite(after)) largest = Math.max(largest, Math.abs(before - after - moved));
      if (isLoaded && moved < 1) break;
    }
    return largest;
  });
  expect(largestJump).toBeLessThanOrEqual(3);
  await ada.row("line 400.").waitFor();
  await expect.poll(() => readSeq(ada.id, room)).toBe(400);
  await chat.post("carol", room, "live again");
  await ada.row("live again").waitFor();
});

test("a newcomer starts at the end of a public room with nothing unread", async () => {
  const name = chat.name("Square");
  await chat.filledRoom(name, ["carol"], { count: 300, text: "line #.", kind: "public" });
  const ada = await chat.signedIn("Ada");
  await ada.page.getByRole("button", { name: "Browse public rooms" }).first().click();
  const dialog = ada.page.getByRole("dialog");
  await dialog.getByRole("listitem").filter({ hasText: name }).getByRole("button").first().click();
  await ada.row("line 300.").waitFor();
  await expect.poll(() => ada.roomLink(name).getByText("unread").count()).toBe(0);
  expect(await ada.page.locator("[data-key=unread]").count()).toBe(0);
});

test("a jump far away moves the messages, and the room keeps its place", async () => {
  const ada = await chat.person("Ada");
  const [name, other] = [chat.name("Archive"), chat.name("Other")];
  const room = await chat.filledRoom(name, ["carol", ada.id], { count: 5000, text: "line #." });
  await chat.room(other, ["carol", ada.id]);
  const quotingSeq = await chat.post("carol", room, "look at this", { reply_to: 40 });
  await ada.signIn();
  await ada.open(name);
  await ada
    .row("look at this")
    .getByRole("button", { name: /line 40/ })
    .click();
  await ada.row("line 40.").waitFor();
  expect(await ada.page.getByRole("dialog").count()).toBe(0);
  expect(quotingSeq).toBeGreaterThan(5000);
  await ada.page.getByText("Looking for the message").waitFor({ state: "detached" });
  const topRow = () =>
    ada.messages.evaluate((box) => {
      const { top } = box.getBoundingClientRect();
      const row = [...box.querySelectorAll("article")].find((one) => one.getBoundingClientRect().top >= top);
      return row && [row.dataset.seq, Math.round(row.getBoundingClientRect().top - top)];
    });
  await ada.messages.hover();
  await ada.page.mouse.wheel(0, 100);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const before = await topRow();
  await ada.open(other);
  // Waits until the room is closed, some seconds after the user has left it.
  await new Promise((resolve) => setTimeout(resolve, 4000));
  await ada.open(name);
  await ada.row("line 40.").waitFor();
  await expect.poll(topRow).toEqual(before);
});
