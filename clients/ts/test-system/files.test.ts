/** Files of messages, with a real files service that is killed meanwhile. */
import "fake-indexeddb/auto";
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { files } from "../src/files.js";
import { memoryStorage } from "../src/storage.js";
import type { Attachment } from "../src/types.js";
import { type OneOrigin, startOneOrigin } from "./one-origin.js";
import { Device } from "./support/device.js";
import { waitUntilPersisted } from "./support/entries.js";
import { history } from "./support/history.js";
import { System } from "./support/system.js";
import { waitUntil } from "./support/until.js";

const system = new System({ files: true });

/** Files are at the same origin as the rest of HTTP. */
let oneOrigin: OneOrigin;
beforeAll(async () => {
  const { stack } = system;
  oneOrigin = await startOneOrigin(stack.gateway(), stack.http(), stack.at);
});
afterAll(() => oneOrigin.close());

test("a message with a file survives a kill of the service and the end of the page, and is stored once", async () => {
  const [alice, bob] = [system.name("alice"), system.name("bob")];
  const room = await system.room([alice, bob]);
  const bytes = randomBytes(3_000_000);
  const [storage, tab] = [memoryStorage(), new Device()];
  let chunks = 0;
  /** A page of Alice, which has the same storage as the earlier ones. */
  const openPage = (device: Device) => {
    const fetchOfDevice = device.options.fetch as typeof fetch;
    const page = system.person(alice, {
      ...device.options,
      storage,
      httpUrl: oneOrigin.origin,
      fetch: async (input, init) => {
        if (init?.method === "PATCH" && ++chunks === 3) await system.stack.kill("files");
        return fetchOfDevice(input, init);
      },
    });
    return { page, files: files(page.client) };
  };
  const first = openPage(tab);
  await first.page.client.connect();
  const attachment = first.files.add(room, new File([bytes], "large.bin"));
  const state = first.files.upload(attachment.upload ?? "");
  await waitUntil("the device keeps the file", () => state.get()?.kept === true);
  first.page.client.room(room).send("with a file", { attachments: [attachment] });
  first.page.client.room(room).send("after it");
  await waitUntil("the service is killed", () => chunks >= 3);
  await waitUntilPersisted(storage, 2);
  tab.emit("hide");
  tab.crash();
  await system.stack.start("files");

  const second = openPage(new Device());
  await second.page.client.connect();
  await waitUntil("both messages are stored", async () => (await history(system, bob, room)).length >= 2);
  await second.page.outboxEmpty();
  const stored = await history(system, bob, room);
  expect(stored.map(({ content }) => content)).toEqual(["with a file", "after it"]);

  const reader = await system.connected(bob, { httpUrl: oneOrigin.origin });
  await reader.open(room);
  const [message] = reader.rows(room);
  const [shown] = message?.attachments ?? [];
  expect(shown).toMatchObject({ name: "large.bin", size: bytes.length });
  const { url } = await files(reader.client).link({ room, seq: message?.seq }, shown as Attachment);
  const answer = await fetch(url);
  expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
  expect(await system.stack.sql(`SELECT count(*) FROM files WHERE uploader = '${alice}'`)).toEqual([["1"]]);
});
