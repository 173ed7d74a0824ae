import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { ScriptedRoom, type WireMessage } from "./room.js";

/** A frame that a client sent. */
export interface Frame {
  readonly type: string;
  readonly ref?: string;
  readonly room?: string;
  readonly rooms?: "mine" | string[];
  readonly [field: string]: unknown;
}

/** How the server answers a send: `ack`, `hold` (no answer, and nothing is appended), or a refusal. */
export type SendRule = "ack" | "hold" | { readonly code: string; readonly reason?: string };

/**
 * Gateway and persistence in one server, on one port, for one user ("alice"). It speaks the part of the protocol that
 * the tests of the hooks need, and a test can change its answers.
 */
export class ScriptedServer {
  readonly me = "alice";
  readonly rooms = new Map<string, ScriptedRoom>();
  /** All frames that clients sent. */
  readonly frames: Frame[] = [];
  /** All requests, as "GET /v1/…". */
  readonly requests: string[] = [];
  /** The number of WebSockets accepted so far. */
  accepted = 0;
  onSend: SendRule = "ack";
  /** The presence by user; offline by default. */
  readonly presence = new Map<string, string>();
  /** The server refuses requests for this: `messages` or `members` of a room, or the user's `rooms`. */
  refuse: string | undefined;
  private readonly http: Server;
  private readonly ws: WebSocketServer;

  private constructor() {
    this.http = createServer((request, response) => this.answer(request, response));
    this.ws = new WebSocketServer({ server: this.http, path: "/v1/ws", handleProtocols: () => "tidings.v1" });
    this.ws.on("connection", (socket, request) => this.accept(socket, request));
  }

  static async start(): Promise<ScriptedServer> {
    const server = new ScriptedServer();
    await new Promise<void>((done) => server.http.listen(0, "127.0.0.1", done));
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  /** The number of open WebSockets. */
  get open(): number {
    return this.ws.clients.size;
  }

  addRoom(id: string, others: readonly string[] = ["bob"]): ScriptedRoom {
    const room = new ScriptedRoom(id, id, this.me, others);
    this.rooms.set(id, room);
    return room;
  }

  /** A user sends a message, and the server pushes it. */
  say(room: string, user: string, content: string): WireMessage {
    const message = this.room(room).append(user, `${user}-${Math.random().toString(36).slice(2)}`, content);
    this.push({ type: "message:new", ...message });
    return message;
  }

  /** Adds a user to a room, and pushes the event. */
  add(room: string, user: string): void {
    const { members } = this.room(room);
    members.push({ user, role: "member" });
    this.push({ type: "member:added", ...this.room(room).nextPosition(), user, role: "member", by: this.me });
  }

  /** Gives a room another name, and pushes the event. */
  rename(room: string, name: string): void {
    this.room(room).name = name;
    this.push({ type: "room:updated", ...this.room(room).nextPosition(), name, by: this.me });
  }

  /** Sends a frame to all connections. */
  push(frame: object): void {
    for (const socket of this.ws.clients) socket.send(JSON.stringify(frame));
  }

  framesOf(type: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  /** Breaks all connections. */
  dropAll(): void {
    for (const socket of this.ws.clients) socket.terminate();
  }

  async close(): Promise<void> {
    this.dropAll();
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }

  private room(id: string): ScriptedRoom {
    const room = this.rooms.get(id);
    if (room === undefined) throw new Error(`no room ${id}`);
    return room;
  }

  private accept(socket: WebSocket, request: IncomingMessage): void {
    this.accepted += 1;
    const send = (frame: object) => socket.send(JSON.stringify(frame));
    if (new URL(request.url ?? "/", this.url).searchParams.has("token")) send(this.connected(undefined));
    socket.on("message", (data) => {
      const frame = JSON.parse(String(data)) as Frame;
      this.frames.push(frame);
      for (const answer of this.answers(frame)) send(answer);
    });
  }

  private connected(ref: string | undefined): object {
    return {
      type: "connected",
      ref,
      connection: "c1",
      user: this.me,
      name: "Alice",
      server_time: new Date().toISOString(),
      heartbeat_ms: 30_000,
      expires_at: new Date(Date.now() + 3_600_000).toISOString(),
      rooms_version: "v1",
      limits: { max_message_chars: 1000, max_frame_bytes: 65_536, messages_per_second: 10 },
      node: "n1",
    };
  }

  private answers(frame: Frame): object[] {
    const { ref } = frame;
    switch (frame.type) {
      case "auth":
        return [this.connected(ref)];
      case "room:join":
        return this.join(frame);
      case "room:leave":
        return [{ type: "room:left", ref, rooms: frame.rooms ?? [frame.room] }];
      case "message:send":
        return this.send(frame);
      case "presence:get": {
        const users = (frame.users as string[]).map((user) => ({
          user,
          status: this.presence.get(user) ?? "offline",
          last_seen: null,
        }));
        return [{ type: "presence:list", ref, users }];
      }
      case "ping":
        return [{ type: "pong", ref, server_time: new Date().toISOString() }];
      default:
        return ref === undefined ? [] : [{ type: "ok", ref }];
    }
  }

  private join(frame: Frame): object[] {
    const ids = frame.rooms === "mine" ? [...this.rooms.keys()] : (frame.rooms ?? [String(frame.room)]);
    const after = frame.after as (Record<string, { seq: number }> & { seq?: number }) | undefined;
    const joined = ids.map((id) => this.room(id));
    const answer = { type: "room:joined", ref: frame.ref, rooms: joined.map((r) => r.joined()), failed: [] };
    const replay = joined.flatMap((room) => {
      const from = frame.room === undefined ? after?.[room.id]?.seq : after?.seq;
      const missed = from === undefined ? [] : room.log.filter((m) => m.seq > from);
      const done = { type: "room:caught_up", room: room.id, ...room.head };
      return [...missed.map((m) => ({ type: "message:new", ...m })), done];
    });
    return [answer, ...replay];
  }

  private send(frame: Frame): object[] {
    const { ref } = frame;
    const rule = this.onSend;
    if (rule === "hold") return [];
    if (rule !== "ack") return [{ type: "error", ref, room: frame.room, message: "refused", ...rule }];
    const room = this.room(String(frame.room));
    const clientId = String(frame.client_id);
    const first = room.log.find((m) => m.client_id === clientId && m.sender.id === this.me);
    const message = first ?? room.append(this.me, clientId, String(frame.content));
    if (first === undefined) this.push({ type: "message:new", ...message });
    const { seq, id, at } = message;
    const position = { seq, id, at, epoch: "1", client_id: clientId };
    return [
      { type: "ack", ref, room: room.id, stage: "stored", duplicate: first !== undefined, ...position },
    ];
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", this.url);
    this.requests.push(`${request.method} ${url.pathname}${url.search}`);
    const [status, body] = this.resource(url);
    const type = status < 400 ? "application/json" : "application/problem+json";
    response.writeHead(status, { "Content-Type": type, "Access-Control-Allow-Origin": "*" });
    response.end(JSON.stringify(body));
  }

  private resource(url: URL): [number, object] {
    const [, , first, id, what] = url.pathname.split("/");
    const room = id === undefined ? undefined : this.rooms.get(decodeURIComponent(id));
    if (first === "transport") return [200, { websocket: true }];
    if (this.refuse !== undefined && this.refuse === (first === "me" ? id : what)) {
      return [403, { code: "forbidden", title: "Forbidden", status: 403 }];
    }
    if (first === "me" && id === "rooms") {
      return [
        200,
        { rooms: [...this.rooms.values()].map((r) => r.summary()), next: null, rooms_version: "v1" },
      ];
    }
    if (first !== "rooms" || room === undefined)
      return [404, { code: "not_found", title: "Not found", status: 404 }];
    if (what === undefined) return [200, room.summary()];
    if (what === "messages") return [200, room.page(url.searchParams)];
    if (what === "receipts") return [200, { receipts: [] }];
    if (what === "members") {
      const members = room.members.map((m) => ({
        ...m,
        name: m.user,
        picture: null,
        joined_at: "2026-01-31T09:00:00.000Z",
      }));
      return [200, { members, next: null }];
    }
    return [200, {}];
  }
}
