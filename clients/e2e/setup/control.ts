/** Steers the system for tests, which run in another process than the one that started it. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Stack } from "../../ts/test-system/stack.js";
import { ORDERS, type Steering } from "./world.js";

/** Takes `POST {order, with: [...]}`, and answers `{value}` or `{error}`. */
export async function serveControl(stack: Stack): Promise<{ url: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    read(request)
      .then(({ order, with: given }) => obey(stack, order, given))
      .then(
        (value) => response.end(JSON.stringify({ value })),
        (error: Error) => response.end(JSON.stringify({ error: error.message })),
      );
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  };
  return { url: `http://127.0.0.1:${port}`, close };
}

function obey(stack: Stack, order: keyof Steering, given: unknown[]): Promise<unknown> {
  if (!ORDERS.includes(order)) throw new Error(`there is no order ${order}`);
  return (stack[order] as (...of: unknown[]) => Promise<unknown>).apply(stack, given);
}

async function read(request: IncomingMessage): Promise<{ order: keyof Steering; with: unknown[] }> {
  let text = "";
  for await (const piece of request.setEncoding("utf8")) text += piece;
  return JSON.parse(text) as { order: keyof Steering; with: unknown[] };
}
