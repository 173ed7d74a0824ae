/**
 * `./dev play --client ts`: all people of the conversations use the built kit. The same director as for the
 * harness's client judges them. Needs dist/ (`npm run build`).
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { program, Stack } from "./stack.js";

let stack: Stack;
let folder: string;
beforeEach(async () => {
  stack = await Stack.start({ gateways: 2 });
  folder = await mkdtemp(join(tmpdir(), "tidings-play-"));
}, 60_000);
afterEach(async () => {
  await stack.stop();
  await rm(folder, { recursive: true });
});

/** The output of the director: its exit code, its figures and its log. */
interface PlayResult {
  readonly code: number;
  readonly figures: Readonly<Record<string, number>>;
  readonly told: string;
}

async function play(lines: readonly object[], ...more: string[]): Promise<PlayResult> {
  const node = (url: string) => ({ url, admin: "", pid: null });
  const status = {
    redis_url: "",
    database_url: "",
    redis_pid: null,
    postgres_pid: null,
    demo: null,
    jwt_secret: stack.at.jwt_secret,
    gateways: stack.gateways.map((url) => ({ ...node(url), ws: `${url.replace("http", "ws")}/v1/ws` })),
    persistence: stack.persistence.map(node),
  };
  const [statusFile, transcript] = [join(folder, "status.json"), join(folder, "transcript.jsonl")];
  await writeFile(statusFile, JSON.stringify(status));
  await writeFile(transcript, lines.map((line) => JSON.stringify(line)).join("\n"));
  const player = resolve(import.meta.dirname, "../play/player.mjs");
  const args = [transcript, "--stack", statusFile, "--client", "ts", "--player", player, ...more];
  return new Promise((resolve) => {
    execFile(program("tidings-play"), args, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? 1);
      const last = stdout.trim().split("\n").at(-1) ?? "";
      resolve({ code, figures: last.startsWith("{") ? JSON.parse(last) : {}, told: stderr });
    });
  });
}

const NO_ERRORS = { missing: 0, duplicated: 0, reordered: 0, history_mismatch: 0 };

test("late and returning people hold the same messages as everybody else", {
  timeout: 60_000,
}, async () => {
  const line = (at_ms: number, user: string, event: string, text?: string) => ({
    at_ms,
    room: "kitchen",
    user,
    event,
    text,
  });
  const lines = Array.from({ length: 20 }, (_, n) => line(n * 40, "alice", "message", `alice ${n} ✓`));
  lines.push(line(10, "bob", "message", "bob"), line(150, "bob", "leave"), line(500, "bob", "join"));
  lines.push(line(300, "carol", "join"), line(320, "carol", "message", "carol"), line(700, "carol", "leave"));
  const result = await play(lines, "--speed", "1");
  expect(result, result.told).toMatchObject({
    code: 0,
    figures: { ...NO_ERRORS, messages: 22, rooms: 1, people: 3 },
  });
  // Alice, two observers and Bob, who reconnected, hold all messages.
  expect(result.figures.deliveries).toBeGreaterThanOrEqual(4 * 22);
});

test("a killed gateway costs nobody a message", { timeout: 90_000 }, async () => {
  const lines = Array.from({ length: 240 }, (_, n) => ({
    at_ms: n * 20,
    room: "kitchen",
    user: `user-${n % 6}`,
    event: "message",
    text: `number ${n}`,
  }));
  const running = play(lines, "--speed", "1");
  await expect
    .poll(() => stack.sql("SELECT count(*) FROM messages"), { timeout: 20_000 })
    .not.toEqual([["0"]]);
  await stack.kill("gateway", 0);
  await stack.start("gateway", 0);
  const result = await running;
  expect(result, result.told).toMatchObject({ code: 0, figures: { ...NO_ERRORS, messages: 240, people: 6 } });
  expect(result.figures.deliveries).toBe(8 * 240);
});
