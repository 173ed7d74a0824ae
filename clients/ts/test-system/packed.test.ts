/**
 * The kit as its users get it: packed, installed into a new project, and used by the first code block of its
 * README, line by line. Needs dist/ (`npm run build`).
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startOneOrigin } from "./one-origin.js";
import { Stack } from "./stack.js";

const run = promisify(execFile);
const here = import.meta.dirname;
const ORIGIN = "https://chat.example.com";

/** The code around the code block of the README: a token, a place to show messages, and a WebSocket for Node. */
const PRELUDE = `import { WebSocket } from "ws";
globalThis.WebSocket = WebSocket;
globalThis.fetchToken = () => process.env.TOKEN;
globalThis.render = (items) => {
  const [message] = items;
  if (!message?.stored) return;
  console.log(JSON.stringify({ content: message.content, status: message.status, seq: message.seq }));
  process.exit(0);
};
`;

let stack: Stack;
let folder: string;
beforeEach(async () => {
  stack = await Stack.start();
  folder = await mkdtemp(join(tmpdir(), "tidings-packed-"));
}, 60_000);
afterEach(async () => {
  await stack.stop();
  await rm(folder, { recursive: true });
});

/** Packs the package of a folder into the new project and returns the name of the tarball. */
async function pack(packageFolder: string): Promise<string> {
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const { stdout } = await run("npm", args, { cwd: packageFolder });
  const [packed] = JSON.parse(stdout) as { filename: string }[];
  return `./${packed?.filename}`;
}

/** The first code block of a page, adapted to this machine: another origin, and a storage that Node has. */
async function firstCode(page: string, origin: string): Promise<string> {
  const code = (await readFile(page, "utf8")).split("```ts\n")[1]?.split("```")[0] ?? "";
  expect(code).toContain(ORIGIN);
  return code.replace(ORIGIN, origin).replaceAll("indexedDbStorage", "memoryStorage");
}

test("the packed kit installs elsewhere, and the README's ten lines store a message", {
  timeout: 120_000,
}, async () => {
  const tarballs = [await pack(resolve(here, "..")), await pack(resolve(here, "../../node_modules/ws"))];
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ name: "elsewhere", private: true, type: "module" }),
  );
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", ...tarballs], { cwd: folder });
  const { dependencies } = JSON.parse(
    await readFile(join(folder, "node_modules/@tidings/client/package.json"), "utf8"),
  ) as { dependencies?: object };
  expect(dependencies ?? {}).toEqual({});

  const answer = await fetch(`${stack.http()}/v1/rooms`, {
    method: "POST",
    headers: { authorization: `Bearer ${stack.token("alice", { scope: "tidings.admin" })}` },
    body: JSON.stringify({ id: "kitchen", kind: "private", name: "Kitchen" }),
  });
  expect(answer.status).toBe(201);
  const server = await startOneOrigin(stack.gateway(), stack.http());
  try {
    await writeFile(join(folder, "around.mjs"), PRELUDE);
    await writeFile(join(folder, "main.mjs"), await firstCode(resolve(here, "../README.md"), server.origin));
    const { stdout } = await run(process.execPath, ["--import", "./around.mjs", "main.mjs"], {
      cwd: folder,
      env: { ...process.env, TOKEN: stack.token("alice") },
      timeout: 30_000,
    });
    expect(JSON.parse(stdout)).toEqual({ content: "Hello", status: "sent", seq: 1 });
  } finally {
    server.close();
  }
  expect(await stack.sql("SELECT content FROM messages")).toEqual([["Hello"]]);
});
