/**
 * Starts one browser for all tests, and for each worker an environment of its own: a system of two gateways behind
 * proxies with the services of files and push, and the demo's servers. Files of different workers run in parallel and
 * cannot disturb each other.
 */
import type { TestProject } from "vitest/node";
import { startOneOrigin } from "../../ts/test-system/one-origin.js";
import { Stack } from "../../ts/test-system/stack.js";
import { launchBrowser, usesFirefox } from "./browser.js";
import { serveControl } from "./control.js";
import { buildDemo, serveDemo } from "./demo.js";
import type { Environment } from "./environment.js";
import { startFirefoxPush } from "./firefox-push.js";

declare module "vitest" {
  interface ProvidedContext {
    environments: readonly Environment[];
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  buildDemo();
  const cleanups: (() => unknown)[] = [];
  const cleanUp = async () => {
    for (const one of cleanups.splice(0).reverse()) await one();
  };
  try {
    const firefoxPush = usesFirefox ? await startFirefoxPush() : undefined;
    cleanups.push(() => firefoxPush?.close());
    const browser = await launchBrowser(firefoxPush?.preferences);
    cleanups.push(() => browser.close());
    const environments = Array.from({ length: project.config.maxWorkers }, () =>
      startEnvironment(browser.wsEndpoint(), cleanups),
    );
    // Waits for all starts, so that the cleanup after a failed start also ends the other environments.
    const results = await Promise.allSettled(environments);
    const failure = results.find((one) => one.status === "rejected");
    if (failure) throw failure.reason;
    project.provide("environments", await Promise.all(environments));
    return cleanUp;
  } catch (error) {
    await cleanUp();
    throw error;
  }
}

/** Starts the environment of one worker, and adds its cleanup functions to `cleanups`. */
async function startEnvironment(browser: string, cleanups: (() => unknown)[]): Promise<Environment> {
  const stack = await Stack.start({
    gateways: 2,
    persistence: 1,
    proxied: true,
    files: true,
    push: true,
    // Gateways and clients notice a silent connection within seconds.
    gatewayEnv: { TIDINGS_HEARTBEAT_MS: 2000 },
  });
  cleanups.push(() => stack.stop());
  const control = await serveControl(stack);
  cleanups.push(control.close);
  const demo = await serveDemo(stack.at);
  cleanups.push(demo.close);
  const oneOrigin = await startOneOrigin(stack.gateway(), stack.http(), stack.at);
  cleanups.push(() => oneOrigin.close());
  const demoWithServices = await serveDemo(stack.at, oneOrigin.origin);
  cleanups.push(demoWithServices.close);
  const urls = { demo: demo.url, demoWithServices: demoWithServices.url, control: control.url };
  return { ...urls, browser, addresses: stack.at };
}
