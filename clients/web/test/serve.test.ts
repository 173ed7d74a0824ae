import { type ChildProcess, spawn } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer, get, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compressFolder } from "../pwa/plugins.ts";
import { contentSecurityPolicy, createApp } from "../serve/app.mjs";

const folder = mkdtempSync(join(tmpdir(), "tidings-demo-"));
const root = join(folder, "dist");
const secret = "a secret for tests";
const now = Date.parse("2026-01-31T09:30:00Z");
const server = createApp({
  root,
  secret,
  gateways: ["http://127.0.0.1:9001", "https://chat.example"],
  persistence: ["http://127.0.0.1:9002"],
  now: () => now,
});
let origin = "";
let port = 0;

beforeAll(async () => {
  mkdirSync(join(root, "assets"), { recursive: true });
  writeFileSync(join(root, "index.html"), "<!doctype html><title>page</title>");
  writeFileSync(
    join(root, "inline.html"),
    "<style>a{}</style><script>b()</script><script src=c.js></script>",
  );
  writeFileSync(join(root, "assets", "app-1a2b.js"), "export {};");
  writeFileSync(join(root, "assets", "large-3c4d.js"), "export {};\n".repeat(500));
  writeFileSync(join(root, "assets", "large-3c4d.css"), "a{}\n".repeat(500));
  compressFolder(root);
  writeFileSync(join(folder, "secret.txt"), "not to be served");
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
  origin = `http://127.0.0.1:${port}`;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const requestToken = (name: unknown) =>
  fetch(`${origin}/dev/token`, { method: "POST", body: JSON.stringify({ name }) });

/** Sends a request with exactly this path, because an HTTP client would normalize it. */
function requestRawPath(path: string, host = "x", method = "GET"): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    });
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk.toString();
    });
    socket.on("end", () => resolve(answer));
    socket.on("error", reject);
  });
}

describe("tokens", () => {
  it("are signed with the secret and name the user for an hour", async () => {
    const answer = (await (await requestToken("  Ada   Lovelace ")).json()) as Record<string, string>;
    expect(answer).toMatchObject({ user: "ada-lovelace", name: "Ada Lovelace" });
    const [head, claims, signature] = (answer.token ?? "").split(".");
    const expected = createHmac("sha256", secret).update(`${head}.${claims}`).digest("base64url");
    expect(signature).toBe(expected);
    expect(JSON.parse(Buffer.from(head ?? "", "base64url").toString())).toEqual({ alg: "HS256", typ: "JWT" });
    expect(JSON.parse(Buffer.from(claims ?? "", "base64url").toString())).toEqual({
      sub: "ada-lovelace",
      name: "Ada Lovelace",
      iat: now / 1000,
      exp: now / 1000 + 3600,
    });
  });

  it("are refused with a problem document for names that are empty, too long or not a string", async () => {
    for (const name of ["", "   ", "x".repeat(61), 7, undefined, "bell\u0007"]) {
      const answer = await requestToken(name);
      expect(answer.status, JSON.stringify(name)).toBe(400);
      expect(answer.headers.get("content-type")).toBe("application/problem+json");
      expect(await answer.json()).toMatchObject({ status: 400, code: "bad_request" });
    }
  });

  it("are given only at a name of this machine", async () => {
    const statusAt = async (host: string) => (await requestRawPath("/dev/token", host, "POST")).slice(9, 12);
    for (const host of ["evil.example:8100", "127.0.0.1.evil.example", "localhost.evil.example", ""])
      expect([host, await statusAt(host)]).toEqual([host, "403"]);
    // The body has no name.
    for (const host of ["localhost:8100", "LOCALHOST", "127.0.0.1", "[::1]:8100"])
      expect([host, await statusAt(host)]).toEqual([host, "400"]);
  });

  it("are refused for a body that is too long or not JSON, and for other methods", async () => {
    const post = (body: string) => fetch(`${origin}/dev/token`, { method: "POST", body });
    expect((await post("{")).status).toBe(400);
    expect((await post(JSON.stringify({ name: "a", more: "x".repeat(9000) }))).status).toBe(400);
    const get = await fetch(`${origin}/dev/token`);
    expect([get.status, get.headers.get("allow")]).toEqual([405, "POST"]);
  });
});

describe("the page", () => {
  it("has a policy that allows only its own code and connections to the chat", async () => {
    const answer = await fetch(`${origin}/`);
    const policy = answer.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self';");
    expect(policy).not.toContain("unsafe");
    expect(policy).toContain("img-src 'self' data:;");
    expect(policy).toContain(
      "connect-src 'self' http://127.0.0.1:9001 https://chat.example ws://127.0.0.1:9001 wss://chat.example http://127.0.0.1:9002;",
    );
    expect(answer.headers.get("cache-control")).toBe("no-cache");
  });

  it("also permits files and their previews if the servers have files", () => {
    const policy = contentSecurityPolicy(
      ["http://g"],
      ["http://p"],
      ["http://p", "https://store.example"],
      "",
    );
    expect(policy).toContain("img-src 'self' data: blob: http://p https://store.example;");
    expect(policy).toContain("media-src blob: http://p https://store.example;");
    expect(contentSecurityPolicy(["http://g"], ["http://p"], [], "")).not.toMatch(/blob:|media-src/);
  });

  it("permits pictures of users from the given origins only", () => {
    const policy = contentSecurityPolicy(["http://g"], ["http://p"], [], "", ["https://pictures.example"]);
    expect(policy).toContain("img-src 'self' data: https://pictures.example;");
  });

  it("is served for any path without an extension, and without a body for HEAD", async () => {
    expect(await (await fetch(`${origin}/some/where?gateway=0`)).text()).toContain("<title>page</title>");
    const head = await fetch(`${origin}/`, { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, "34", ""]);
  });

  it("has immutable assets with a media type, and answers 404 for other files", async () => {
    const asset = await fetch(`${origin}/assets/app-1a2b.js`);
    expect(asset.headers.get("cache-control")).toContain("immutable");
    expect(asset.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect((await fetch(`${origin}/assets/gone.js`)).status).toBe(404);
    expect((await fetch(`${origin}/`, { method: "DELETE" })).status).toBe(405);
  });

  it("never serves a file outside its folder", async () => {
    const traversals = [
      "/../secret.txt",
      "/%2e%2e/secret.txt",
      "/assets/..%2f..%2fsecret.txt",
      "/..%5csecret.txt",
    ];
    for (const path of [...traversals, "/%00secret.txt", "/%zz.txt"]) {
      const answer = await requestRawPath(path);
      expect(answer, path).toMatch(/^HTTP\/1\.1 404 /);
      expect(answer).not.toContain("not to be served");
    }
  });
});

/** Sends a request with this header and returns the answer without decoding it. */
function requestEncoded(path: string, acceptEncoding?: string): Promise<IncomingMessage & { bytes: number }> {
  const headers = acceptEncoding === undefined ? {} : { "accept-encoding": acceptEncoding };
  return new Promise((resolve, reject) => {
    get(`${origin}${path}`, { headers }, (answer) => {
      let bytes = 0;
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      answer.on("end", () => resolve(Object.assign(answer, { bytes })));
    }).on("error", reject);
  });
}

describe("compressed files", () => {
  const script = "/assets/large-3c4d.js";

  it.each([
    ["br, gzip, deflate", "br"],
    ["gzip", "gzip"],
    ["gzip;q=1.0, br;q=0", "gzip"],
    ["*", "br"],
    ["BR;Q=0.5", "br"],
    ["identity", undefined],
    ["br;q=0, gzip;q=0.0", undefined],
    [undefined, undefined],
  ])("are sent as the request accepts them: %s", async (accepted, expected) => {
    const answer = await requestEncoded(script, accepted);
    expect(answer.headers["content-encoding"]).toBe(expected);
    expect(answer.headers.vary).toBe("Accept-Encoding");
    expect(answer.headers["cache-control"]).toContain("immutable");
    expect(answer.headers["content-type"]).toBe("text/javascript; charset=utf-8");
    expect(answer.bytes).toBe(Number(answer.headers["content-length"]));
    expect(answer.bytes < 5_000).toBe(expected !== undefined);
  });

  it("contain the same bytes as the files", async () => {
    for (const encoding of ["br", "gzip"]) {
      const answer = await fetch(`${origin}${script}`, { headers: { "accept-encoding": encoding } });
      expect(await answer.text()).toBe("export {};\n".repeat(500));
    }
  });

  it("do not exist for small files, which are sent as they are", async () => {
    const answer = await requestEncoded("/assets/app-1a2b.js", "br");
    expect([answer.headers["content-encoding"], answer.bytes]).toEqual([undefined, 10]);
  });
});

describe("the inline parts of a page", () => {
  it("are permitted by their hashes, and nothing else is", async () => {
    const policy = (await fetch(`${origin}/inline.html`)).headers.get("content-security-policy") ?? "";
    const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
    expect(policy).toContain(`script-src 'self' ${hashOf("b()")};`);
    expect(policy).toContain(`style-src 'self' ${hashOf("a{}")};`);
  });
});

describe("with programs beside the services", () => {
  /** A service that answers with its name and what it was asked. */
  const startService = async (name: string) => {
    const service = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        response.writeHead(203, { "X-Service": name, "Content-Type": "application/json" });
        const { method, url, headers } = request;
        response.end(JSON.stringify({ method, url, body, token: headers.authorization }));
      });
    });
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
    return service;
  };
  const originOf = (service: Server) => `http://127.0.0.1:${(service.address() as AddressInfo).port}`;
  let services: Server[] = [];
  let front = "";

  beforeAll(async () => {
    services = await Promise.all(["persistence", "files", "push"].map(startService));
    const [persistence = "", files = "", push = ""] = services.map(originOf);
    const programs = { files, push, webhooks: "http://127.0.0.1:1" };
    const app = createApp({
      root,
      secret,
      gateways: ["http://127.0.0.1:9001"],
      persistence: [persistence],
      programs,
    });
    await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
    services.push(app);
    front = originOf(app);
  });
  afterAll(() => {
    for (const service of services) service.close();
  });

  it("each path of the API goes to its program, all others to persistence", async () => {
    const serviceOf = async (path: string) => (await fetch(front + path)).headers.get("x-service");
    const files = [
      "/v1/rooms/r/files",
      "/v1/rooms/r/files/f/content?x=1",
      "/v1/files/f",
      "/v1/rooms/r/messages/3/files/f",
    ];
    for (const path of files) expect(await serviceOf(path), path).toBe("files");
    for (const path of ["/v1/push/key", "/v1/me/devices", "/v1/me/mutes/r"])
      expect(await serviceOf(path), path).toBe("push");
    for (const path of ["/v1/rooms/files", "/v1/me", "/v1/filesx", "/v1/rooms/r/messages?limit=1"])
      expect(await serviceOf(path), path).toBe("persistence");
    const down = await fetch(`${front}/v1/webhooks`);
    expect([down.status, (await down.json()).code]).toEqual([502, "unavailable"]);
  });

  it("requests and answers are passed on whole", async () => {
    const answer = await fetch(`${front}/v1/rooms/r/files?a=%20b`, {
      method: "POST",
      body: "x".repeat(100_000),
      headers: { Authorization: "Bearer t" },
    });
    expect([answer.status, answer.headers.get("x-content-type-options")]).toEqual([203, null]);
    const { method, url, body, token } = await answer.json();
    expect([method, url, body.length, token]).toEqual([
      "POST",
      "/v1/rooms/r/files?a=%20b",
      100_000,
      "Bearer t",
    ]);
  });

  it("the page uses its own origin for HTTP and files, and knows that there is push", async () => {
    const config = await (await fetch(`${front}/dev/config`)).json();
    expect(config).toEqual({
      gateways: ["http://127.0.0.1:9001"],
      persistence: [front],
      files: true,
      push: true,
    });
    const policy = (await fetch(`${front}/`)).headers.get("content-security-policy") ?? "";
    expect(policy).toContain("media-src blob: 'self'");
    expect(policy).toContain("connect-src 'self' http://127.0.0.1:9001 ws://127.0.0.1:9001;");
  });
});

describe("the program", () => {
  it("prints its address, serves its configuration and exits cleanly on SIGTERM", async () => {
    const program = start({
      TIDINGS_JWT_SECRET: secret,
      TIDINGS_DEMO_GATEWAYS: "http://127.0.0.1:1, http://127.0.0.1:2",
    });
    const line = await firstLine(program);
    const at = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
    const config = await (await fetch(`${at}/dev/config`)).json();
    expect(config).toEqual({
      gateways: ["http://127.0.0.1:1", "http://127.0.0.1:2"],
      persistence: ["http://127.0.0.1:3"],
    });
    expect((await fetch(`${at}/healthz`)).status).toBe(200);
    const exitCode = new Promise((resolve) => program.on("exit", resolve));
    program.kill("SIGTERM");
    expect(await exitCode).toBe(0);
  });

  it("does not start with a program that it does not know", async () => {
    const known = { TIDINGS_JWT_SECRET: secret, TIDINGS_DEMO_GATEWAYS: "http://127.0.0.1:1" };
    const program = start({ ...known, TIDINGS_DEMO_PROGRAMS: "mail=http://127.0.0.1:1" });
    expect(await new Promise((resolve) => program.on("exit", resolve))).toBe(2);
  });

  it("does not start without a secret", async () => {
    const program = start({ TIDINGS_DEMO_GATEWAYS: "http://127.0.0.1:1" });
    expect(await new Promise((resolve) => program.on("exit", resolve))).toBe(2);
  });
});

function start(env: Record<string, string>): ChildProcess {
  const file = new URL("../serve.mjs", import.meta.url).pathname;
  return spawn(process.execPath, [file, "--port", "0"], {
    env: { PATH: process.env.PATH ?? "", TIDINGS_DEMO_PERSISTENCE: "http://127.0.0.1:3", ...env },
  });
}

function firstLine(program: ChildProcess): Promise<string> {
  return new Promise((resolve) => program.stdout?.once("data", (text) => resolve(String(text))));
}
