// Uploads against a real HTTP server, with cuts and lost answers.
import { expect, test } from "vitest";
import { eventually, FilesWorld, makeFile, until } from "./support/files-world.js";

const KIB = 1024;

test("a message with a file is sent once its file is complete", async () => {
  const world = await FilesWorld.start();
  world.server.picture = { width: 640, height: 480, blurhash: "LEHV6nWB2yk8pyo0adR*.7kCMdnj" };
  const page = world.page();
  const file = makeFile(900 * KIB);
  const attachment = page.files.add("r", file);
  expect(attachment).toMatchObject({ name: "photo.png", mediaType: "image/png", size: 900 * KIB });
  const phases = new Set<string | undefined>();
  const { upload = "" } = attachment;
  const { subscribe, get } = page.files.upload(upload);
  subscribe(() => phases.add(get()?.phase));
  const row = page.room.send("look", { attachments: [attachment] });
  expect(row).toMatchObject({ status: "sending", attachments: [{ upload }] });
  await eventually(() => world.sent().length > 0);
  expect([...phases]).toEqual(expect.arrayContaining(["hashing", "sending", "checking", "complete"]));
  expect(world.sent()).toEqual([
    {
      content: "look",
      attachments: [
        {
          file: "f1",
          name: "photo.png",
          media_type: "image/png",
          size: 900 * KIB,
          ...world.server.picture,
        },
      ],
    },
  ]);
  const stored = world.server.files.get("f1")?.bytes;
  expect(stored?.equals(Buffer.from(await file.arrayBuffer()))).toBe(true);
  const list = await until(page.room.messages, ({ items }) => items.at(-1)?.status === "sent");
  expect(list.items.at(-1)?.attachments).toEqual([
    { file: "f1", name: "photo.png", mediaType: "image/png", size: 900 * KIB, ...world.server.picture },
  ]);
  expect([...world.server.tokens]).toEqual(["alice.1"]);
});

test("the name of a file is cut between visible characters, and changes no direction", async () => {
  const page = (await FilesWorld.start()).page();
  const nameOf = (name: string) => page.files.add("r", new File(["x"], name)).name;
  expect(nameOf("a\u202egnp\t.exe\u2066")).toBe("agnp .exe");
  expect(nameOf(`x${"👩🏿‍❤️‍💋‍👨🏽".repeat(30)}.png`)).toBe(`x${"👩🏿‍❤️‍💋‍👨🏽".repeat(25)}.png`);
  expect(nameOf(`${"ä".repeat(300)}.png`)).toBe(`${"ä".repeat(251)}.png`);
  expect(nameOf(`${"😀".repeat(300)}`)).toBe("😀".repeat(255));
  expect(nameOf(" \u202e ")).toBe("file");
});

test("messages of a room keep their order while a file uploads", async () => {
  const world = await FilesWorld.start();
  const page = world.page();
  await until(page.client.connection, ({ state }) => state === "connected");
  let open = () => {};
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  world.offline = true;
  page.room.send("first");
  page.room.send("second", { attachments: [page.files.add("r", makeFile(10))] });
  page.room.send("third");
  await eventually(() => world.sent().length === 1);
  void gate.then(() => {
    world.offline = false;
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(world.sent().map(({ content }) => content)).toEqual(["first"]);
  open();
  await eventually(() => world.sent().length === 3);
  expect(world.sent().map(({ content }) => content)).toEqual(["first", "second", "third"]);
});

test("an upload continues where the connection was cut", async () => {
  const world = await FilesWorld.start();
  world.server.cutAfterBytes = 150 * KIB;
  const page = world.page();
  const file = makeFile(700 * KIB);
  page.room.send("cut", { attachments: [page.files.add("r", file)] });
  await eventually(() => (world.server.files.get("f1")?.bytes.length ?? 0) > 400 * KIB);
  world.server.cutAfterBytes = Number.POSITIVE_INFINITY;
  await eventually(() => world.sent().length > 0);
  const sent = world.server.files.get("f1")?.bytes;
  expect(sent?.equals(Buffer.from(await file.arrayBuffer()))).toBe(true);
  expect(world.server.countOf("HEAD")).toBeGreaterThan(1);
  expect(world.server.files.size).toBe(1);
});

test.each(["POST", "PATCH", "complete"])(
  "a lost answer to %s neither loses nor doubles a message",
  async (what) => {
    const world = await FilesWorld.start();
    let lost = 0;
    world.server.hook = ({ method }, path) => {
      const isMeant = what === "complete" ? path.endsWith("/complete") : method === what;
      return isMeant && lost++ < 2 ? "lose-answer" : undefined;
    };
    const page = world.page();
    page.room.send("once", { attachments: [page.files.add("r", makeFile(600 * KIB))] });
    await eventually(() => world.sent().length > 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(lost).toBeGreaterThan(1);
    expect(world.sent().length).toBe(1);
  },
);

test("a wrong checksum begins the upload again", async () => {
  const world = await FilesWorld.start();
  const page = world.page();
  let spoiled = 0;
  world.server.hook = (_, path) => {
    const file = world.server.files.get("f1");
    if (path.endsWith("/complete") && file && spoiled++ === 0) file.bytes[5] = (file.bytes[5] ?? 0) ^ 1;
    return undefined;
  };
  page.room.send("right", { attachments: [page.files.add("r", makeFile(300 * KIB))] });
  await eventually(() => world.sent().length > 0);
  expect(spoiled).toBe(2);
  expect(world.server.files.size).toBe(1);
});

test("a proxy that refuses large requests gets smaller ones", async () => {
  const world = await FilesWorld.start();
  world.server.hook = ({ method, headers }) =>
    method === "PATCH" && Number(headers["content-length"]) > 100 * KIB
      ? { status: 413, body: { code: "too_large" } }
      : undefined;
  const page = world.page();
  page.room.send("small", { attachments: [page.files.add("r", makeFile(700 * KIB))] });
  await eventually(() => world.sent().length > 0);
  // Of 256 and 128 KiB; later requests stay below the limit.
  expect(world.server.countOf("PATCH")).toBe(2 + 11);
});

test("a refusal that may end soon is waited for: another request about the file", async () => {
  const world = await FilesWorld.start();
  let refused = 0;
  world.server.hook = ({ method }, path) => {
    const busy = path.endsWith("/complete") || method === "PATCH";
    return busy && ++refused % 3 ? { status: 409, body: { code: "conflict" } } : undefined;
  };
  const page = world.page();
  page.room.send("busy", { attachments: [page.files.add("r", makeFile(300 * KIB))] });
  await eventually(() => world.sent().length > 0);
  expect(refused).toBeGreaterThan(3);
  expect(world.server.files.size).toBe(1);
});

test("a body that broke off behind a proxy continues from the offset of the answer", async () => {
  const world = await FilesWorld.start();
  let broken = 0;
  world.server.hook = ({ method }) => {
    const file = world.server.files.get("f1");
    if (method !== "PATCH" || !file || broken++ > 0) return undefined;
    file.bytes = Buffer.from(sent.subarray(0, 1000));
    return { status: 400, body: { code: "bad_request" }, headers: { "upload-offset": 1000 } };
  };
  const page = world.page();
  const file = makeFile(300 * KIB);
  const sent = Buffer.from(await file.arrayBuffer());
  page.room.send("rest", { attachments: [page.files.add("r", file)] });
  await eventually(() => world.sent().length > 0);
  expect(world.server.files.get("f1")?.bytes.equals(sent)).toBe(true);
  expect(world.server.countOf("HEAD")).toBe(0);
});

test.each(["rejected", "media_type"])(
  "a file that is refused as %s is given up on the server",
  async (reason) => {
    const world = await FilesWorld.start();
    world.server.hook = (_, path) => {
      const code = reason === "rejected" ? "conflict" : "bad_request";
      return path.endsWith("/complete")
        ? { status: code === "conflict" ? 409 : 400, body: { code, reason } }
        : undefined;
    };
    const page = world.page();
    page.room.send("no", { attachments: [page.files.add("r", makeFile(100))] });
    const [entry] = await until(page.client.outbox, ([one]) => one?.status === "failed");
    expect(entry?.error).toMatchObject({ reason });
    await eventually(() => world.server.files.size === 0);
    expect(world.server.requests.filter((request) => request.endsWith("/complete")).length).toBe(1);
  },
);

test("names and types are made such that the server takes them, and an empty file is refused", async () => {
  const world = await FilesWorld.start();
  const page = world.page();
  const long = `${"x".repeat(300)}.tar.gz`;
  const files = [
    makeFile(1, "a\nb.txt", "text/plain; charset=utf-8"),
    makeFile(1, long, "nonsense"),
    makeFile(1, " ", ""),
  ];
  page.room.send("", { attachments: files.map((file) => page.files.add("r", file)) });
  await eventually(() => world.sent().length > 0);
  expect([...world.server.files.values()].map(({ name, media_type }) => [name, media_type])).toEqual(
    expect.arrayContaining([
      ["a b.txt", "text/plain"],
      [`${"x".repeat(252)}.gz`, "application/octet-stream"],
      ["file", "application/octet-stream"],
    ]),
  );
  expect(() => page.files.add("r", makeFile(0))).toThrow("The file is empty");
});

test("a file that the server has lost is sent again from its start", async () => {
  const world = await FilesWorld.start();
  const page = world.page();
  let patches = 0;
  world.server.hook = ({ method }) => {
    if (method === "PATCH" && ++patches === 2) {
      const file = world.server.files.get("f1");
      if (file) world.server.files.set("gone", file);
      world.server.files.delete("f1");
    }
    return undefined;
  };
  page.room.send("again", { attachments: [page.files.add("r", makeFile(900 * KIB))] });
  await eventually(() => world.sent().length > 0);
  expect(world.sent()[0]?.attachments[0]?.file).toBe("f2");
});

test("a permanent refusal fails the message, lets later messages pass, and a retry sends it", async () => {
  const world = await FilesWorld.start();
  world.server.hook = ({ method }) =>
    method === "POST" ? { status: 413, body: { code: "too_large", detail: "too large" } } : undefined;
  const page = world.page();
  const attachment = page.files.add("r", makeFile(1000));
  page.room.send("big", { attachments: [attachment] });
  page.room.send("after");
  await until(page.client.outbox, (entries) => entries.some(({ status }) => status === "failed"));
  const upload = page.files.upload(attachment.upload ?? "");
  expect(upload.get()).toMatchObject({ phase: "failed", error: { code: "too_large" } });
  await eventually(() => world.sent().length === 1);
  world.server.hook = undefined;
  page.client.outbox.retryAll();
  await eventually(() => world.sent().length === 2);
  expect(world.sent().map(({ content }) => content)).toEqual(["after", "big"]);
});

test("retrying the upload also retries its message", async () => {
  const world = await FilesWorld.start();
  world.server.hook = () => ({ status: 403, body: { code: "forbidden" } });
  const page = world.page();
  const attachment = page.files.add("r", makeFile(1000));
  page.room.send("x", { attachments: [attachment] });
  await until(page.client.outbox, (entries) => entries.some(({ status }) => status === "failed"));
  world.server.hook = undefined;
  page.files.retry(attachment.upload ?? "");
  await eventually(() => world.sent().length === 1);
});

test("a cancelled upload leaves its message, is deleted on the server, and an empty message goes too", async () => {
  const world = await FilesWorld.start();
  world.server.cutAfterBytes = 50 * KIB;
  const page = world.page();
  const one = page.files.add("r", makeFile(5000 * KIB));
  const two = page.files.add("r", makeFile(5000 * KIB));
  page.room.send("text", { attachments: [one] });
  page.room.send("", { attachments: [two] });
  await eventually(() => world.server.files.size === 2);
  page.files.cancel(one.upload ?? "");
  page.files.cancel(two.upload ?? "");
  await eventually(() => world.sent().length === 1);
  await eventually(() => world.server.files.size === 0);
  expect(world.sent()).toEqual([{ content: "text", attachments: [] }]);
  await until(page.client.outbox, (entries) => entries.length === 0);
  const patches = world.server.countOf("PATCH");
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(world.server.countOf("PATCH")).toBe(patches);
});

test("an upload that is cancelled while the server creates its file is deleted too", async () => {
  const world = await FilesWorld.start();
  const page = world.page();
  const attachment = page.files.add("r", makeFile(1000));
  // The server has the file, and its answer is on the way.
  world.server.hook = ({ method }) => {
    if (method === "POST") queueMicrotask(() => page.files.cancel(attachment.upload ?? ""));
    return undefined;
  };
  await eventually(() => world.server.countOf("DELETE") === 1);
  expect(world.server.files.size).toBe(0);
  expect(world.server.countOf("PATCH")).toBe(0);
});

test("a discarded message gives up its files", async () => {
  const world = await FilesWorld.start();
  world.server.cutAfterBytes = 50 * KIB;
  const page = world.page();
  const { clientId } = page.room.send("no", { attachments: [page.files.add("r", makeFile(5000 * KIB))] });
  await eventually(() => world.server.files.size === 1);
  page.client.outbox.discard(clientId);
  await eventually(() => world.server.files.size === 0);
  expect(world.server.countOf("DELETE")).toBe(1);
  expect(world.sent()).toEqual([]);
});

test("a refused token is renewed", async () => {
  const world = await FilesWorld.start();
  world.server.hook = ({ headers }) =>
    headers.authorization === "Bearer alice.1" ? { status: 401, body: { code: "unauthorized" } } : undefined;
  let asked = 0;
  const page = world.page({ token: () => `alice.${++asked}` });
  page.room.send("renewed", { attachments: [page.files.add("r", makeFile(10))] });
  await eventually(() => world.sent().length === 1);
  expect([...world.server.tokens]).toEqual(["alice.2"]);
});

test("an upload waits for its turn, and 100 at most wait", async () => {
  const world = await FilesWorld.start();
  world.offline = true;
  const page = world.page();
  for (let count = 0; count < 100; count++) page.files.add("r", makeFile(1));
  expect(() => page.files.add("r", makeFile(1))).toThrow("Too many files");
});

test("a held file is sent, and its link tells that a scanner has it", async () => {
  const world = await FilesWorld.start();
  world.server.stateAfterComplete = "held";
  const page = world.page();
  page.room.send("held", { attachments: [page.files.add("r", makeFile(10))] });
  const { items } = await until(page.room.messages, (list) => list.items.at(-1)?.stored === true);
  const message = items.at(-1);
  const [attachment] = message?.attachments ?? [];
  if (!message || !attachment) throw new Error("no attachment");
  await expect(page.files.link(message, attachment)).rejects.toSatisfy(page.files.isHeld);
});

test("a link is shared until shortly before its end, gives the bytes, and a fresh one differs", async () => {
  const world = await FilesWorld.start();
  const page = world.page();
  page.room.send("", { attachments: [page.files.add("r", makeFile(1000))] });
  const { items } = await until(page.room.messages, (list) => list.items.at(-1)?.stored === true);
  const message = items.at(-1);
  const [attachment] = message?.attachments ?? [];
  if (!message || !attachment) throw new Error("no attachment");
  const links = await Promise.all([
    page.files.link(message, attachment),
    page.files.link(message, attachment),
  ]);
  expect(links[0]).toBe(links[1]);
  const answer = await fetch(links[0].url);
  expect((await answer.arrayBuffer()).byteLength).toBe(1000);
  expect(world.server.links).toBe(1);
  const fresh = await page.files.link(message, attachment, { fresh: true });
  expect(fresh.url).not.toBe(links[0].url);
  // The preview has an address of its own. The kit must not confuse it with the address of the file.
  const preview = await page.files.link(message, attachment, { preview: true });
  expect(preview.url).toContain("preview=1");
  expect(await page.files.link(message, attachment)).toBe(fresh);
  // An address could run code in the page.
  world.server.hook = () => ({
    status: 200,
    body: { url: "javascript:alert(1)", expires_at: "2030-01-01T00:00:00Z" },
  });
  await expect(page.files.link(message, attachment, { fresh: true })).rejects.toMatchObject({
    code: "protocol",
  });
  world.server.hook = undefined;
  // The clock of the device may be wrong, so a link of the past is used for a minute.
  world.server.linkMs = -600_000;
  const past = await page.files.link(message, attachment, { fresh: true });
  expect(past.expiresAt).toBeGreaterThan(Date.now());
  expect(
    await page.files.link(
      { room: "r", seq: 1 },
      { name: "a", url: "https://x.test/a", mediaType: "a/b", size: 1 },
    ),
  ).toEqual({ url: "https://x.test/a", expiresAt: Number.POSITIVE_INFINITY });
});
