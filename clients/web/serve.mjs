#!/usr/bin/env node
// Serves the demo: node serve.mjs [--port N]. The environment must set TIDINGS_JWT_SECRET, TIDINGS_DEMO_GATEWAYS and
// TIDINGS_DEMO_PERSISTENCE. The last two are lists of origins, separated by commas. If the servers have files,
// TIDINGS_DEMO_FILES lists the origins from which browsers download them; without it the demo has no files.
// TIDINGS_DEMO_PUSH=yes says that they have push. TIDINGS_DEMO_PICTURES lists the origins of the pictures of users;
// other pictures are not shown.
// TIDINGS_DEMO_PROGRAMS names companion programs, as `files=ORIGIN,push=ORIGIN`. This server then forwards the
// whole HTTP API, so that everything has one origin.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createApp } from "./serve/app.mjs";
import { PROGRAMS } from "./serve/forward.mjs";

/** @param {string} reason */
function fail(reason) {
  process.stderr.write(`serve: ${reason}\n`);
  process.exit(2);
}

/** @param {string} name */
function originsFromEnv(name) {
  const texts = (process.env[name] ?? "").split(",").map((text) => text.trim());
  return texts.filter(Boolean).map((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url?.protocol !== "http:" && url?.protocol !== "https:")
      return fail(`${name}: ${text} is not an origin`);
    return url.origin;
  });
}

let port = 0;
try {
  port = Number(parseArgs({ options: { port: { type: "string", default: "8100" } } }).values.port);
} catch (error) {
  fail(String(error));
}
if (!Number.isInteger(port) || port < 0 || port > 65535) fail("--port needs a number from 0 to 65535");

const secret = process.env.TIDINGS_JWT_SECRET ?? "";
if (secret === "") fail("TIDINGS_JWT_SECRET is not set");
const gateways = originsFromEnv("TIDINGS_DEMO_GATEWAYS");
const persistence = originsFromEnv("TIDINGS_DEMO_PERSISTENCE");
if (gateways.length === 0 || persistence.length === 0) {
  fail("TIDINGS_DEMO_GATEWAYS and TIDINGS_DEMO_PERSISTENCE each need at least one origin");
}

const files = originsFromEnv("TIDINGS_DEMO_FILES");
const pictures = originsFromEnv("TIDINGS_DEMO_PICTURES");

/** @type {Record<string, string>} */
const programs = {};
for (const text of (process.env.TIDINGS_DEMO_PROGRAMS ?? "").split(",").filter(Boolean)) {
  const [name = "", origin = ""] = text.split("=", 2);
  if (!PROGRAMS.includes(name) || !URL.canParse(origin))
    fail(`TIDINGS_DEMO_PROGRAMS: ${text} is not PROGRAM=ORIGIN`);
  programs[name] = new URL(origin).origin;
}
const forwardedTo = [...Object.values(programs), ...persistence];
if (Object.keys(programs).length > 0 && !forwardedTo.every((origin) => origin.startsWith("http:")))
  fail("with TIDINGS_DEMO_PROGRAMS the origins of persistence and the programs must have http");

const root = fileURLToPath(new URL("dist", import.meta.url));
const push = process.env.TIDINGS_DEMO_PUSH === "yes" || programs.push !== undefined;
const server = createApp({ root, secret, gateways, persistence, files, pictures, programs, push });
server.on("error", (error) => fail(error.message));
// Listens on this machine only, because the server gives a token to everyone who asks for one.
server.listen(port, "127.0.0.1", () => {
  const address = server.address();
  const boundPort = typeof address === "object" && address ? address.port : port;
  process.stdout.write(`demo listens on http://127.0.0.1:${boundPort}\n`);
});
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeAllConnections();
  });
}
