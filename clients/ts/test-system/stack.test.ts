/** The test system executes commands, and leaves no process and no file when it ends. */
import { afterEach, expect, test } from "vitest";
import { Stack } from "./stack.js";

let stack: Stack | undefined;
afterEach(() => stack?.stop());

const isReachable = (origin: string): Promise<boolean> =>
  fetch(`${origin}/v1/transport`, { signal: AbortSignal.timeout(3000) }).then(
    (answer) => answer.ok,
    () => false,
  );

test("a system starts, accepts its tokens, follows commands, and stops completely", {
  timeout: 60_000,
}, async () => {
  stack = await Stack.start({ gateways: 2, proxied: true });
  const rooms = await fetch(`${stack.http()}/v1/me/rooms`, {
    headers: { authorization: `Bearer ${stack.token("alice", { name: "Alice" })}` },
  });
  expect(rooms.status).toBe(200);
  expect(await stack.sql("SELECT 1, NULL")).toEqual([["1", ""]]);
  expect(await stack.redis("PING")).toBe("PONG");

  await stack.kill("gateway", 1);
  expect([await isReachable(stack.gateway(0)), await isReachable(stack.gateway(1))]).toEqual([true, false]);
  await stack.start("gateway", 1);
  expect(await isReachable(stack.gateway(1))).toBe(true);

  await stack.link("gateway", 0, "refuse");
  expect(await isReachable(stack.gateway(0))).toBe(false);
  await stack.link("gateway", 0, "heal");
  expect(await isReachable(stack.gateway(0))).toBe(true);

  await expect(stack.kill("gateway", 7)).rejects.toThrow("there is no Gateway 7");
  const gatewayOrigin = stack.at.direct.gateways[0] ?? "";
  await stack.stop();
  expect(await isReachable(gatewayOrigin)).toBe(false);
  await expect(stack.sql("SELECT 1")).rejects.toThrow("has ended");
});
