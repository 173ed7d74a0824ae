// Files of messages, with a real files service.
import { randomBytes } from "node:crypto";
import type { Download } from "playwright-core";
import { afterEach, expect, test } from "vitest";
import { Chat } from "../support/chat.js";
import {
  bytesAt,
  chooseFiles,
  expectLoaded,
  giveFile,
  holdUploads,
  paintPicture,
  type TestFile,
} from "../support/files.js";
import type { Person } from "../support/person.js";

const chat = new Chat();

afterEach(async () => {
  await chat.stack.start("files");
});

/** Two users in a room, in the demo with files. */
async function twoPeople(roomName: string): Promise<{ ada: Person; bo: Person; room: string }> {
  const ada = await chat.signedIn("Ada", { services: true });
  const bo = await chat.signedIn("Bo", { services: true });
  const name = chat.name(roomName);
  const room = await chat.room(name, [ada.id, bo.id]);
  await ada.open(name);
  await bo.open(name);
  return { ada, bo, room };
}

/** The address of a picture that a click opens in another tab. */
async function openedBy(person: Person, click: () => Promise<void>): Promise<string> {
  const opening = person.page.context().waitForEvent("page");
  await click();
  const tab = await opening;
  await tab.waitForURL(/\/v1\/files\//);
  return tab.url();
}

/** Clicks on a file of a message, and returns the address that the browser downloads. */
async function downloadedBy(person: Person, text: string, name: string): Promise<string> {
  const { page } = person;
  const downloading = new Promise<Download>((resolve) => {
    page.on("download", resolve);
    // The link opens a tab, which becomes the download.
    page.context().on("page", (tab) => tab.on("download", resolve));
  });
  await person
    .row(text)
    .getByRole("button", { name: new RegExp(`^Download ${name}`) })
    .click();
  const download = await downloading;
  expect(download.suggestedFilename()).toBe(name);
  return download.url();
}

test("a chosen picture is uploaded with progress, seen small and large by the other user, and downloaded", async () => {
  const { ada, bo } = await twoPeople("Pictures");
  const picture = await paintPicture(ada.page, "evening.png", 640, 480);
  const gate = await holdUploads(ada, 1);
  await chooseFiles(ada, picture);
  const attached = ada.page.getByRole("list", { name: "Attached files" });
  await attached.getByText("evening.png").waitFor();
  await attached.getByRole("progressbar", { name: "Upload of evening.png" }).waitFor();
  await expectLoaded(attached.locator("img"), 640, 480);
  await chat.screenshot(ada, "files-attached");

  await ada.say("over the sea");
  await attached.waitFor({ state: "detached" });
  await ada.row("over the sea").getByRole("progressbar", { name: "Upload of evening.png" }).waitFor();
  await chat.screenshot(ada, "files-sending");
  expect(await bo.texts()).toEqual([]);
  gate.open();
  await ada.expectTick("over the sea", "Read");

  const small = bo.row("over the sea").getByRole("button", { name: "View picture evening.png" });
  await expectLoaded(small.locator("img"), 640, 480);
  await chat.screenshot(bo, "files-picture");
  await small.click();
  const large = bo.page.getByRole("dialog", { name: "Picture evening.png" });
  await expectLoaded(large.getByRole("img", { name: "evening.png" }), 640, 480);
  await chat.screenshot(bo, "files-lightbox");
  const address = await openedBy(bo, () => large.getByRole("button", { name: "Open evening.png" }).click());
  expect((await bytesAt(address)).equals(picture.buffer)).toBe(true);
  await bo.page.keyboard.press("Escape");
  await large.waitFor({ state: "detached" });
});

test("pasted and dropped files are sent in one message, and the other user downloads them", async () => {
  const { ada, bo, room } = await twoPeople("Papers");
  const text = (name: string): TestFile => ({
    name,
    mimeType: "text/plain",
    buffer: Buffer.from(`of ${name}`),
  });
  await giveFile(ada, "paste", await paintPicture(ada.page, "pasted.png", 320, 200));
  await giveFile(ada, "drop", text("dropped.txt"));
  await giveFile(ada, "drop", text("removed.txt"));
  const attached = ada.page.getByRole("list", { name: "Attached files" });
  await attached.getByRole("button", { name: "Remove removed.txt" }).click();
  await expect.poll(() => attached.getByRole("listitem").count()).toBe(2);
  await ada.say("both");
  await ada.expectTick("both", "Read");

  const row = bo.row("both");
  await expectLoaded(row.getByRole("button", { name: "View picture pasted.png" }).locator("img"), 320, 200);
  await chat.screenshot(bo, "files-list");
  const address = await downloadedBy(bo, "both", "dropped.txt");
  expect((await bytesAt(address)).toString()).toBe("of dropped.txt");
  expect(await chat.history(ada.id, room)).toEqual(["both"]);
});

test("an upload continues after a kill of the service and a reload, and its message is stored once", async () => {
  const { ada, bo, room } = await twoPeople("Continued");
  ada.allowBrokenConnections();
  const file = { name: "large.bin", mimeType: "application/octet-stream", buffer: randomBytes(5_000_000) };
  const gate = await holdUploads(ada, 3);
  await chooseFiles(ada, file);
  await ada.say("a large file");
  await expect.poll(() => gate.offsets.length).toBe(3);
  await chat.stack.kill("files");
  gate.open();
  await ada.page.reload();
  await ada.row("a large file").getByRole("progressbar", { name: "Upload of large.bin" }).waitFor();
  await chat.screenshot(ada, "files-after-reload");
  const before = gate.offsets.length;
  await chat.stack.start("files");
  await ada.expectTick("a large file", "Read");
  // The bytes of the first two requests are not sent again.
  expect(gate.offsets[before]).toBeGreaterThanOrEqual(gate.offsets[2] ?? Number.POSITIVE_INFINITY);

  const address = await downloadedBy(bo, "a large file", "large.bin");
  expect((await bytesAt(address)).equals(file.buffer)).toBe(true);
  await bo.expectTexts(["a large file"]);
  expect(await chat.history(ada.id, room)).toEqual(["a large file"]);
  expect(await chat.stack.sql(`SELECT count(*) FROM files WHERE uploader = '${ada.id}'`)).toEqual([["1"]]);
});
