/**
 * React Native: the app of `apps/expo` with the packed kit, hooks and native parts. TypeScript checks it with the types
 * of Expo and React Native, Expo's export bundles it with Metro and compiles it for Hermes, and a program with the same
 * packages runs in Hermes.
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { install, MARKS, NATIVE_MARK, occurrences, output, packKit } from "./support/project.js";

/** Where the packages of npm keep their programs for this machine. */
const PROGRAMS = process.platform === "darwin" ? "osx-bin" : "linux64-bin";
/** The first 8 bytes of Hermes' bytecode, and the version of the bytecode of React Native 0.81 in the next 4. */
const BYTECODE_MAGIC = "c61fbc03c103191f";
const BYTECODE_VERSION = 96;
const ALL_MARKS = [...Object.values(MARKS), NATIVE_MARK];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tidings-expo-"));
  // Metro keeps its caches in this folder, also after its end.
  vi.stubEnv("TMPDIR", folder);
  await install("expo", folder, await packKit(folder, ["ts", "react", "react-native"]));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

function expectBytecode(code: Buffer): void {
  expect(code.subarray(0, 8).toString("hex")).toBe(BYTECODE_MAGIC);
  expect(code.readUInt32LE(8)).toBe(BYTECODE_VERSION);
  for (const mark of ALL_MARKS) expect(code.includes(mark), mark).toBe(true);
}

test("the types of the packed packages are valid with those of Expo, React Native and its modules", async () => {
  await output(process.execPath, ["node_modules/typescript/bin/tsc", "--noEmit"], folder);
});

test("an export of Expo for iOS is bytecode of Hermes that contains the packed packages", async () => {
  await output(process.execPath, ["node_modules/.bin/expo", "export", "--platform", "ios"], folder);
  const out = join(folder, "dist/_expo/static/js/ios");
  const [bundle, ...others] = await readdir(out);
  expect(others).toEqual([]);
  expectBytecode(await readFile(join(out, bundle ?? "")));
});

test("a bundle of Metro runs in Hermes: the app connects, shows messages, sends and reconnects", async () => {
  const bundle = join(folder, "hermes.js");
  await output(process.execPath, ["hermes/bundle.cjs", bundle], folder);
  const text = await readFile(bundle, "utf8");
  for (const mark of ALL_MARKS) expect(occurrences(text, mark), mark).toBe(1);

  // The compiler of this React Native accepts the bundle. Its virtual machine is not on npm.
  const hermesc = join(folder, "node_modules/react-native/sdks/hermesc", PROGRAMS, "hermesc");
  await output(hermesc, ["-w", "-O", "-emit-binary", "-out", `${bundle}.hbc`, bundle], folder);
  expectBytecode(await readFile(`${bundle}.hbc`));

  // The last virtual machine on npm, of 2022.
  const hermes = join(folder, "node_modules/hermes-engine-cli", PROGRAMS, "hermes");
  const printed = (await output(hermes, ["-w", "-O", bundle], folder)).trim().split("\n");
  const steps = printed.filter((line, at) => line !== printed[at - 1]);
  expect(steps).toEqual([
    "connecting, closed",
    "connecting, loading",
    "connected, loading",
    "connected, loading, tea? sent",
    "connected, catching-up, tea? sent",
    "connected, live, tea? sent",
    "connected, live, tea? sent, Hello sending",
    "connected, live, tea? sent, Hello sent",
    "reconnecting, offline, tea? sent, Hello sent",
    "connected, catching-up, tea? sent, Hello sent",
    "connected, catching-up, tea? sent, Hello sent, now? sent",
    "connected, live, tea? sent, Hello sent, now? sent",
    "server: tea?, Hello, now?",
    "token: alice.1",
    "disconnected, offline, tea? sent, Hello sent, now? sent",
    "end",
  ]);
});
