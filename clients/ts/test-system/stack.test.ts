/** The system under the tests of the kit: it follows commands and leaves nothing behind. */
import { afterEach, expect, test } from "vitest";
import { Stack } from "./stack.js";

let stack: Stack | undefined;
afterEach(() => stack?.stop());

const answers = (origin: string): Promise<boolean> =>
  fetch(`${origin}/v1/transport`, { signal: AbortSignal.timeout(3000) }).then(
    (answer) => answer.ok,
    () => false,
  );

test("a system starts, accepts its tokens, follows commands, and stops completely", {
  timeout: 60_000,
}, async () => {
  stack = await Stack.start({ gateways: 2, proxied: true });
  const mine = await fetch(`${stack.http()}/v1/me/rooms`, {
    headers: { authorization: `Bearer ${stack.token("alice", { name: "Alice" })}` },
  });
  expect(mine.status).toBe(200);
  expect(await stack.sql("SELECT 1, NULL")).toEqual([["1", ""]]);
  expect(await stack.redis("PING")).toBe("PONG");

  await stack.kill("gateway", 1);
  expect([await answers(stack.gateway(0)), await answers(stack.gateway(1))]).toEqual([true, false]);
  await stack.start("gateway", 1);
  expect(await answers(stack.gateway(1))).toBe(true);

  await stack.link("gateway", 0, "refuse");
  expect(await answers(stack.gateway(0))).toBe(false);
  await stack.link("gateway", 0, "heal");
  expect(await answers(stack.gateway(0))).toBe(true);

  await expect(stack.kill("gateway", 7)).rejects.toThrow("there is no Gateway 7");
  const left = stack.at.direct.gateways[0] ?? "";
  await stack.stop();
  expect(await answers(left)).toBe(false);
  await expect(stack.sql("SELECT 1")).rejects.toThrow("has ended");
});
