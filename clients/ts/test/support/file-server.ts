/**
 * The files of a server, over real HTTP: uploads by offset, checksums, links with ranges. Tests cut connections, lose
 * answers and change the rules.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A file of the server. */
export interface ServerFile {
  readonly id: string;
  readonly room: string;
  readonly name: string;
  readonly media_type: string;
  readonly size: number;
  readonly sha256: string;
  bytes: Buffer;
  /** The parts that the bucket has, by number. */
  readonly parts: Map<number, Buffer>;
  state: "uploading" | "ready" | "held";
}

/** The headers of an answer. */
type Headers = { [name: string]: string | number };

/** What a test does with a request: nothing, end its connection, lose its answer, or answer it otherwise. */
export type FileHook = (
  request: IncomingMessage,
  path: string,
) => "cut" | "lose-answer" | { status: number; body?: object; headers?: Headers } | undefined;

export class FileServer {
  readonly files = new Map<string, ServerFile>();
  /** All requests, as `PATCH /v1/rooms/r/files/f1/content`. */
  readonly requests: string[] = [];
  readonly tokens = new Set<string>();
  hook: FileHook | undefined;
  /** Ends each connection that brings bytes, after this number of bytes of its body. */
  cutAfterBytes = Number.POSITIVE_INFINITY;
  /** The state of a file after `complete`. */
  stateAfterComplete: "ready" | "held" = "ready";
  /** The size of the parts in which files go to the bucket; 0 if they go to the server by offset. */
  partBytes = 0;
  /** What the server says about pictures. */
  picture: object = {};
  /** How long a link is good, in milliseconds. */
  linkMs = 300_000;
  origin = "";
  links = 0;
  #created = 0;
  readonly #server: Server = createServer((request, response) => void this.#answer(request, response));

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.origin = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Whether a request is one that this server answers. */
  static serves(url: string): boolean {
    return /\/v1\/rooms\/[^/]+\/(messages\/\d+\/)?files(\/|$)|\/bucket\//.test(url);
  }

  countOf(method: string): number {
    return this.requests.filter((request) => request.startsWith(`${method} `)).length;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "" } = request;
    this.requests.push(`${method} ${url}`);
    const done = this.hook?.(request, url);
    if (done === "cut") return void request.socket.destroy();
    const send = (status: number, body?: object, headers: Headers = {}) => {
      if (done === "lose-answer") return void request.socket.destroy();
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(body && method !== "HEAD" ? JSON.stringify(body) : undefined);
    };
    if (typeof done === "object") return send(done.status, done.body, done.headers);
    if (url.startsWith("/bytes/")) return this.#bytes(request, response);
    if (url.startsWith("/bucket/")) return this.#part(request, send);
    const token = request.headers.authorization ?? "";
    if (!token.startsWith("Bearer ")) return send(401, { code: "unauthorized" });
    this.tokens.add(token.slice(7));
    const [path = "", query] = url.split("?");
    const [, , , room = "", ...rest] = path.split("/");
    if (rest[0] === "messages") return this.#link(rest[3] ?? "", query, request, send);
    if (method === "POST" && rest.length === 1) return this.#create(room, await readJson(request), send);
    const file = this.files.get(rest[1] ?? "");
    if (!file) return send(404, { code: "not_found" });
    if (method === "DELETE") {
      this.files.delete(file.id);
      return send(204);
    }
    if (rest[2] === "complete") return this.#complete(file, send);
    if (method === "GET") return send(200, this.#describe(file));
    const offset = { "upload-offset": file.bytes.length };
    if (this.partBytes) {
      request.resume();
      return send(409, { code: "conflict", reason: "parts" });
    }
    if (method === "HEAD") return send(204, undefined, offset);
    if (file.state !== "uploading") return send(409, { code: "conflict" }, offset);
    if (method !== "PATCH" || request.headers["content-type"] !== "application/partial-upload")
      return send(400, { code: "bad_request" });
    if (Number(request.headers["upload-offset"]) !== file.bytes.length) {
      request.resume();
      return send(409, { code: "conflict" }, offset);
    }
    // The bytes that have arrived stay, also if the connection ends.
    let received = 0;
    try {
      for await (const piece of request as AsyncIterable<Buffer>) {
        const rest = this.cutAfterBytes - received;
        file.bytes = Buffer.concat([file.bytes, piece.subarray(0, rest)]);
        received += piece.length;
        if (received >= this.cutAfterBytes) return void request.socket.destroy();
      }
    } catch {
      return;
    }
    send(204, undefined, { "upload-offset": file.bytes.length });
  }

  #create(room: string, body: Pick<ServerFile, "name" | "media_type" | "size" | "sha256">, send: Send) {
    if (
      body.size < 1 ||
      !/^[\w.+-]+\/[\w.+-]+$/.test(body.media_type) ||
      !/^[^\p{Cc}]{1,255}$/u.test(body.name)
    )
      return send(400, { code: "bad_request" });
    const id = `f${++this.#created}`;
    const file: ServerFile = {
      ...body,
      id,
      room,
      bytes: Buffer.alloc(0),
      parts: new Map(),
      state: "uploading",
    };
    this.files.set(id, file);
    send(201, this.#describe(file));
  }

  #describe({ bytes, parts, ...file }: ServerFile): object {
    const url = `${this.origin}/v1/rooms/${file.room}/files/${file.id}/content`;
    if (file.state !== "uploading") return file;
    if (!this.partBytes) return { ...file, upload: { kind: "offset", url, offset: bytes.length } };
    const missing = [];
    let received_bytes = 0;
    for (let number = 1, offset = 0; offset < file.size; number++, offset += this.partBytes) {
      const size = Math.min(this.partBytes, file.size - offset);
      const part = `${this.origin}/bucket/${file.id}/${number}?size=${size}&expires=${Date.now() + this.linkMs}`;
      if (parts.has(number)) received_bytes += size;
      else if (missing.length < 16) missing.push({ number, offset, size, url: part });
    }
    return { ...file, upload: { kind: "parts", received_bytes, parts: missing } };
  }

  /** Takes a part, as a bucket does: by a URL that is the permission, and only as a whole. */
  async #part(request: IncomingMessage, send: Send): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "", this.origin);
    const [, , id = "", number] = pathname.split("/");
    const pieces: Buffer[] = [];
    let received = 0;
    try {
      for await (const piece of request as AsyncIterable<Buffer>) {
        pieces.push(piece);
        received += piece.length;
        if (received >= this.cutAfterBytes) return void request.socket.destroy();
      }
    } catch {
      return;
    }
    const file = this.files.get(id);
    if (!file) return send(404);
    const isExpired = Number(searchParams.get("expires")) < Date.now();
    const hasToken = request.headers.authorization !== undefined;
    if (request.method !== "PUT" || hasToken || isExpired || `${received}` !== searchParams.get("size"))
      return send(403);
    file.parts.set(Number(number), Buffer.concat(pieces));
    send(200);
  }

  #complete(file: ServerFile, send: Send) {
    if (this.partBytes && file.state === "uploading")
      file.bytes = Buffer.concat([...file.parts].sort(([a], [b]) => a - b).map(([, bytes]) => bytes));
    if (file.bytes.length !== file.size) return send(409, { code: "conflict", detail: "bytes are missing" });
    if (createHash("sha256").update(file.bytes).digest("hex") !== file.sha256) {
      file.bytes = Buffer.alloc(0);
      if (this.partBytes) this.files.delete(file.id);
      return send(400, { code: "bad_request", reason: "checksum" });
    }
    if (file.state === "uploading") file.state = this.stateAfterComplete;
    const { id, name, media_type, size, state } = file;
    send(200, { id, state, attachment: { file: id, name, media_type, size, ...this.picture } });
  }

  #link(id: string, query: string | undefined, request: IncomingMessage, send: Send) {
    const file = this.files.get(id);
    if (!file) return send(404, { code: "not_found" });
    if (file.state !== "ready") return send(409, { code: "held" });
    if (request.headers.accept !== "application/json") return send(406, { code: "bad_request" });
    const expires = Date.now() + this.linkMs;
    const preview = query === "preview=1" ? "&preview=1" : "";
    const url = `/bytes/${id}?n=${++this.links}&expires=${expires}${preview}`;
    send(200, { url, expires_at: new Date(expires).toISOString() });
  }

  #bytes(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? "", this.origin);
    const file = this.files.get(pathname.split("/")[2] ?? "");
    if (!file || Number(searchParams.get("expires")) < Date.now()) {
      response.writeHead(403).end();
      return;
    }
    response.writeHead(200, { "content-type": file.media_type, "content-length": file.size }).end(file.bytes);
  }
}

type Send = (status: number, body?: object, headers?: Headers) => void;

async function readJson<T>(request: IncomingMessage): Promise<T> {
  const pieces: Buffer[] = [];
  for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString()) as T;
}
