/**
 * Next.js with the App Router: builds an application with the packed kit and hooks, with Turbopack and with webpack,
 * serves it, and reads it over HTTP as a browser would. Then it builds the examples of the docs as its pages.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test } from "vitest";
import { blocksOf, pages } from "../../react/test/docs/blocks.js";
import { install, MARKS, occurrences, output, packKit } from "./support/project.js";

const NEXT = "node_modules/next/dist/bin/next";
/** How long a server may take for its end before it is killed. */
const STOP_MS = 10_000;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-next-"));
  await install("next", folder, await packKit(folder, ["ts", "react", "react-ui"]));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A running `next start`. */
interface Server {
  readonly origin: string;
  /** All that the server has printed. */
  readonly printed: string[];
  /** Ends the server and waits for its exit. */
  stop(): Promise<void>;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await exited;
  clearTimeout(timer);
}

/** Starts the built application on a free port of 127.0.0.1. */
async function serve(): Promise<Server> {
  const env = { ...process.env, NODE_ENV: "production" as const, NEXT_TELEMETRY_DISABLED: "1" };
  const child = spawn(process.execPath, [NEXT, "start", "--hostname", "127.0.0.1", "--port", "0"], {
    cwd: folder,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const printed: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => printed.push(text));
  const origin = await new Promise<string>((found, failed) => {
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`next start ended (${code}): ${printed.join("\n")}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      printed.push(line);
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (address !== undefined) found(address);
    });
  });
  return { origin, printed, stop: () => stop(child) };
}

/** The text of all client chunks of the build, also of those that the page loads later. */
async function clientChunks(): Promise<string> {
  const chunks = join(folder, ".next/static/chunks");
  const files = await readdir(chunks, { recursive: true });
  const texts = files
    .filter((name) => name.endsWith(".js"))
    .map((name) => readFile(join(chunks, name), "utf8"));
  return (await Promise.all(texts)).join("\n");
}

async function textOf(address: string): Promise<string> {
  const response = await fetch(address);
  expect(response.status, address).toBe(200);
  return response.text();
}

test.each(["turbopack", "webpack"])(
  "a Next.js application built with %s serves the packed kit once",
  async (bundler) => {
    await rm(join(folder, ".next"), { recursive: true, force: true });
    const built = await output(process.execPath, [NEXT, "build", `--${bundler}`], folder);
    expect(built).toContain("Compiled successfully");
    for (const mark of Object.values(MARKS)) expect(occurrences(await clientChunks(), mark), mark).toBe(1);

    const server = await serve();
    try {
      const html = await textOf(`${server.origin}/`);
      // The server renders the hooks' state before a connection, in the page of a server component.
      expect(html).toContain("<main><h1>Kitchen</h1>");
      expect(html).toContain('<section data-connection="disconnected" data-phase="closed">');
      expect(html).toContain('<p role="status">Loading the messages</p><ol></ol>');
      expect(html).toContain('<button type="submit">Send</button>');
      // React replaces a component that fails on the server by a template with the error.
      expect(html).not.toMatch(/data-dgst|data-msg|Switched to client rendering/);
      // The browser loads the kit with the page, not later.
      const scripts = [...new Set([...html.matchAll(/<script src="([^"]+)"/g)].map(([, path]) => path))];
      const loaded = await Promise.all(scripts.map((path) => textOf(`${server.origin}${path}`)));
      for (const mark of Object.values(MARKS)) expect(occurrences(loaded.join("\n"), mark), mark).toBe(1);
      expect(server.printed.join("\n")).not.toMatch(/error|⨯/i);
    } finally {
      await server.stop();
    }
  },
);

/** What examples leave to the application: a token of its own server, and a client around a chat without one. */
const SURROUNDINGS = {
  "fetchToken.ts":
    'export const fetchToken = async () => (await fetch("/token", { method: "POST" })).text();\n',
  "provider.tsx": `"use client";

import { TidingsProvider } from "@tidings/react";
import type { ReactNode } from "react";
import { fetchToken } from "./fetchToken";

const options = { url: "https://chat.example.com", token: fetchToken };

export function Provider({ children }: { children: ReactNode }) {
  return <TidingsProvider options={options}>{children}</TidingsProvider>;
}
`,
} as const;

const PAGE_WITH_PROVIDER = `import { Provider } from "../../provider";
import App from "./app";

export default function Page() {
  return (
    <Provider>
      <App />
    </Provider>
  );
}
`;

test("the examples of the docs that are whole applications build as pages, unchanged", async () => {
  const examples = pages()
    .flatMap((page) => blocksOf(page))
    .filter(({ code }) => /^export default function App\b/m.test(code));
  expect(examples.length).toBeGreaterThanOrEqual(6);
  for (const [name, code] of Object.entries(SURROUNDINGS)) await writeFile(join(folder, "app", name), code);
  for (const [at, { page, line, code }] of examples.entries()) {
    const path = join(folder, "app/examples", String(at));
    await mkdir(path, { recursive: true });
    const isWhole = code.includes("<TidingsProvider");
    const name = code.includes("fetchToken") ? 'import { fetchToken } from "../../fetchToken";\n' : "";
    await writeFile(join(path, isWhole ? "page.tsx" : "app.tsx"), `// ${page}:${line}\n${code}${name}`);
    if (!isWhole) await writeFile(join(path, "page.tsx"), PAGE_WITH_PROVIDER);
  }
  await rm(join(folder, ".next"), { recursive: true, force: true });
  await output(process.execPath, [NEXT, "build", "--turbopack"], folder);
  for (const at of examples.keys()) {
    const html = await readFile(join(folder, `.next/server/app/examples/${at}.html`), "utf8");
    expect(html, examples[at]?.page).not.toMatch(/data-dgst|data-msg|Switched to client rendering/);
  }
});
