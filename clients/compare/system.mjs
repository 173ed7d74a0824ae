// Starts the processes of a run: a complete Tidings with its Redis (`tidings-stack`), and two Socket.IO nodes on the
// same Redis.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { signToken } from "../web/serve/token.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Starts Tidings with two gateways. `kill(n)` and `start(n)` act on a gateway; also `token(user)` and `stop()`. */
export async function startTidings() {
  const folder = process.env.TIDINGS_BIN_DIR ?? `${root}/target/release`;
  const child = spawn(`${folder}/tidings-stack`, ["--gateways", "2"], { stdio: ["pipe", "pipe", "inherit"] });
  const failure = new Promise((_, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`tidings-stack ended with ${code}`)));
  });
  failure.catch(() => {});
  const lines = createInterface({ input: child.stdout });
  const first = await Promise.race([once(lines, "line"), failure]);
  const addresses = JSON.parse(first[0]);
  const pendingCommands = new Map();
  let lastId = 0;
  lines.on("line", (line) => {
    const answer = JSON.parse(line);
    pendingCommands.get(answer.id)?.(answer);
    pendingCommands.delete(answer.id);
  });
  const command = async (fields) => {
    const id = ++lastId;
    const answerPromise = new Promise((resolve) => pendingCommands.set(id, resolve));
    child.stdin.write(`${JSON.stringify({ id, ...fields })}\n`);
    const answer = await Promise.race([answerPromise, failure]);
    if (answer.error) throw new Error(answer.error);
  };
  return {
    addresses,
    token: (user) => signToken(addresses.jwt_secret, { sub: user, name: user }, Date.now()),
    kill: (number) => command({ do: "kill", of: "gateway", number }),
    start: (number) => command({ do: "start", of: "gateway", number }),
    stop: () => {
      child.stdin.end();
      return once(child, "exit");
    },
  };
}

/** Starts a Socket.IO node. `kill()` stops it, and `start()` starts it again on the same port. */
export async function startSocketIo(redisUrl) {
  const port = await freePort();
  const node = { port };
  node.start = async () => {
    const env = { ...process.env, PORT: String(port), REDIS_URL: redisUrl };
    const serverPath = fileURLToPath(new URL("socketio-server.mjs", import.meta.url));
    node.child = spawn(process.execPath, [serverPath], { env, stdio: ["ignore", "pipe", "inherit"] });
    await once(node.child.stdout, "data");
  };
  node.kill = async () => {
    const exited = once(node.child, "exit");
    node.child.kill("SIGKILL");
    await exited;
  };
  await node.start();
  return node;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}
