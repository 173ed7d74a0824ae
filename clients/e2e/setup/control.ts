/** Lets tests control the system over HTTP, because another process has started the system. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Stack } from "../../ts/test-system/stack.js";
import { CONTROL_COMMANDS, type StackControl } from "./environment.js";

/** Starts a server that runs the command in the body `{command, args}` and answers with `{value}` or `{error}`. */
export async function serveControl(stack: Stack): Promise<{ url: string; close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    readCommand(request)
      .then(({ command, args }) => execute(stack, command, args))
      .then(
        (value) => response.end(JSON.stringify({ value })),
        (error: Error) => response.end(JSON.stringify({ error: error.message })),
      );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${port}`, close };
}

function execute(stack: Stack, command: keyof StackControl, args: unknown[]): Promise<unknown> {
  if (!CONTROL_COMMANDS.includes(command)) throw new Error(`unknown command: ${command}`);
  return (stack[command] as (...args: unknown[]) => Promise<unknown>).apply(stack, args);
}

async function readCommand(
  request: IncomingMessage,
): Promise<{ command: keyof StackControl; args: unknown[] }> {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += chunk;
  return JSON.parse(text) as { command: keyof StackControl; args: unknown[] };
}
