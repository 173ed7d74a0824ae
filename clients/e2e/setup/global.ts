/**
 * What the tests share: one browser, and for each worker a world of its own, which is a system of two gateways behind
 * proxies and the demo's server. Files of different workers run side by side and cannot disturb each other.
 */
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";
import { Stack } from "../../ts/test-system/stack.js";
import { serveControl } from "./control.js";
import { buildDemo, serveDemo } from "./demo.js";
import type { World } from "./world.js";

declare module "vitest" {
  interface ProvidedContext {
    worlds: readonly World[];
  }
}

/** Without the sandbox, which needs rights that a container does not give. */
const FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  buildDemo();
  const ends: (() => unknown)[] = [];
  const end = async () => {
    for (const one of ends.splice(0).reverse()) await one();
  };
  try {
    const browser = await chromium.launchServer({ executablePath: browserPath(), args: FLAGS });
    ends.push(() => browser.close());
    const starts = Array.from({ length: project.config.maxWorkers }, () => start(browser.wsEndpoint(), ends));
    // A failed start must not leave the others running: all of them end before anything is torn down.
    const started = await Promise.allSettled(starts);
    const failed = started.find((one) => one.status === "rejected");
    if (failed) throw failed.reason;
    project.provide("worlds", await Promise.all(starts));
    return end;
  } catch (error) {
    await end();
    throw error;
  }
}

/** Starts the world of one worker; what ends it is added to `ends`. */
async function start(browser: string, ends: (() => unknown)[]): Promise<World> {
  const stack = await Stack.start({
    gateways: 2,
    persistence: 1,
    proxied: true,
    // Silence is noticed within seconds.
    gatewayEnv: { TIDINGS_HEARTBEAT_MS: 2000 },
  });
  ends.push(() => stack.stop());
  const control = await serveControl(stack);
  ends.push(control.close);
  const demo = await serveDemo(stack.at);
  ends.push(demo.close);
  return { demo: demo.url, browser, control: control.url, at: stack.at };
}

function browserPath(): string {
  const path = process.env.TIDINGS_CHROMIUM || "/usr/bin/chromium";
  if (!existsSync(path)) throw new Error(`${path} is missing: set TIDINGS_CHROMIUM to a Chromium`);
  return path;
}
