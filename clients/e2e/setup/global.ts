/** What all tests share: a system of two gateways behind proxies, the demo's server, and a browser. */
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import type { TestProject } from "vitest/node";
import { Stack } from "../../ts/test-system/stack.js";
import { serveControl } from "./control.js";
import { buildDemo, serveDemo } from "./demo.js";
import type { World } from "./world.js";

declare module "vitest" {
  interface ProvidedContext {
    world: World;
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
    const browser = await chromium.launchServer({ executablePath: browserPath(), args: FLAGS });
    ends.push(() => browser.close());
    project.provide("world", {
      demo: demo.url,
      browser: browser.wsEndpoint(),
      control: control.url,
      at: stack.at,
    });
    return end;
  } catch (error) {
    await end();
    throw error;
  }
}

function browserPath(): string {
  const path = process.env.TIDINGS_CHROMIUM || "/usr/bin/chromium";
  if (!existsSync(path)) throw new Error(`${path} is missing: set TIDINGS_CHROMIUM to a Chromium`);
  return path;
}
