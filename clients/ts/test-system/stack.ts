/**
 * A whole Tidings for one test: Redis, PostgreSQL, gateways and persistence nodes. The program
 * `tidings-stack` starts them and takes commands from its stdin. Everything ends with `stop()`, or with this
 * process. The program comes from `TIDINGS_BIN_DIR`, else from the repository's debug build (`cargo build
 * --workspace`).
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { type Claims, sign } from "./token.js";

/** The numbers of nodes, and their settings by environment name. */
export interface StackOptions {
  readonly gateways?: number;
  readonly persistence?: number;
  readonly gatewayEnv?: Readonly<Record<string, string | number>>;
  readonly persistenceEnv?: Readonly<Record<string, string | number>>;
  /** Clients connect through proxies, whose faults `link` sets. */
  readonly proxied?: boolean;
  /** Also starts the files service. */
  readonly files?: boolean;
  /** Also turns on the feed and starts `tidings-push`, and allows push endpoints on this machine. */
  readonly push?: boolean;
}

/** The addresses of the system; origins such as `http://127.0.0.1:10042`. */
export interface SystemAddresses {
  /** The origins for clients: those of the proxies, if there are any. */
  readonly gateways: readonly string[];
  readonly persistence: readonly string[];
  /** The files service, without a proxy; null without `files`. Persistence does not serve its paths. */
  readonly files: string | null;
  /** The push service, in the same way. */
  readonly push: string | null;
  /** The nodes themselves, without the proxies. */
  readonly direct: {
    readonly gateways: readonly string[];
    readonly persistence: readonly string[];
    readonly gateways_admin: readonly string[];
    readonly persistence_admin: readonly string[];
  };
  readonly jwt_secret: string;
  readonly redis_url: string;
  readonly database_url: string;
}

export type NodeKind = "gateway" | "persistence";
export type ServerKind = "redis" | "postgres" | "files";

/** A fault of the client connections of one node; `black_hole`, `refuse` and `delay` last until `heal`. */
export type LinkFault = "cut" | "reset" | "half_open" | "black_hole" | "refuse" | "delay" | "heal";

interface Answer {
  readonly id: number | null;
  readonly error?: string;
  readonly rows?: string[][];
  readonly value?: unknown;
  readonly text?: string;
}

interface PendingCommand {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
}

/** A running system. Commands run concurrently: await one before the next where the order matters. */
export class Stack {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #pendingCommands = new Map<number, PendingCommand>();
  readonly #stderr: string[] = [];
  readonly #ended: Promise<void>;
  #addresses: SystemAddresses | undefined;
  #commands = 0;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.#stderr.push(text));
    // A command after the end fails with the exit code, which explains more than a broken pipe.
    child.stdin.on("error", () => undefined);
    this.#ended = new Promise((resolve) => {
      child.once("close", (code) => {
        const error = new Error(`tidings-stack ended (${code}): ${this.#stderr.join("").slice(-2000)}`);
        for (const { reject } of this.#pendingCommands.values()) reject(error);
        this.#pendingCommands.clear();
        resolve();
      });
    });
  }

  /** Starts a system and returns when every node is ready. The default is one gateway and one persistence node. */
  static async start(options: StackOptions = {}): Promise<Stack> {
    const child = spawn(program("tidings-stack"), toFlags(options), { stdio: "pipe" });
    const stack = new Stack(child);
    const lines = createInterface({ input: child.stdout });
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      // If the program exits before its first line, the start has failed.
      stack.#pendingCommands.set(0, { resolve: () => undefined, reject });
      lines.on("line", (line) => {
        if (stack.#addresses !== undefined) return stack.#onAnswer(JSON.parse(line) as Answer);
        stack.#addresses = JSON.parse(line) as SystemAddresses;
        stack.#pendingCommands.delete(0);
        resolve();
      });
    });
    return stack;
  }

  /** The addresses of the system. */
  get at(): SystemAddresses {
    if (this.#addresses === undefined) throw new Error("the system has not started");
    return this.#addresses;
  }

  /** The origins of the gateways for clients. */
  get gateways(): readonly string[] {
    return this.at.gateways;
  }

  /** The origins of the persistence nodes for clients. */
  get persistence(): readonly string[] {
    return this.at.persistence;
  }

  /** The origin of a gateway. */
  gateway(number = 0): string {
    return origin(this.gateways, number);
  }

  /** The origin of a persistence node. */
  http(number = 0): string {
    return origin(this.persistence, number);
  }

  /** Returns a token of this user, by default one that is valid for an hour. */
  token(user: string, claims: Claims = {}): string {
    return sign(user, this.at.jwt_secret, claims);
  }

  /** Sends SIGKILL. */
  async kill(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#command({ do: "kill", of, number });
  }

  /** Sends SIGSTOP: the process is suspended, and its sockets stay open. */
  async pause(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#command({ do: "pause", of, number });
  }

  /** Sends SIGCONT. */
  async resume(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#command({ do: "resume", of, number });
  }

  /** Sends SIGTERM and returns after the exit. A gateway takes TIDINGS_DRAIN_MS for it, here 1,000 by default. */
  async drain(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#command({ do: "drain", of, number });
  }

  /** Starts an ended node on its old port and with its data; returns once it is ready. */
  async start(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#command({ do: "start", of, number });
  }

  /** Drains a running node and starts it again; Redis and PostgreSQL keep their data. */
  restart(of: NodeKind | ServerKind, number = 0): Promise<void> {
    return this.start(of, number);
  }

  /** Kills Redis and starts it without data: a new epoch begins. */
  async emptyRedis(): Promise<void> {
    await this.#command({ do: "empty_redis" });
  }

  /** Sets a fault on the client connections of a node. Needs `proxied`. */
  async link(to: NodeKind, number: number, fault: LinkFault, delayMs = 0): Promise<void> {
    await this.#command({ do: "link", to, number, weather: fault, delay_ms: delayMs });
  }

  /** Runs SQL. Returns rows of text, with NULL as "". */
  async sql(query: string): Promise<string[][]> {
    return (await this.#command({ do: "sql", query })).rows ?? [];
  }

  /** Runs a command of Redis. */
  async redis(...command: string[]): Promise<unknown> {
    return (await this.#command({ do: "redis", command })).value;
  }

  /** The Prometheus page of a node. */
  async metrics(of: NodeKind, number = 0): Promise<string> {
    return (await this.#command({ do: "metrics", of, number })).text ?? "";
  }

  /** The whole log of a node. */
  async log(of: NodeKind, number = 0): Promise<string> {
    return (await this.#command({ do: "log", of, number })).text ?? "";
  }

  /** Ends everything. May be called twice. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  #command(command: Readonly<Record<string, unknown>>): Promise<Answer> {
    this.#commands += 1;
    const id = this.#commands;
    return new Promise<Answer>((resolve, reject) => {
      if (this.#child.exitCode !== null) return reject(new Error("the system has ended"));
      this.#pendingCommands.set(id, { resolve, reject });
      this.#child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    });
  }

  #onAnswer(answer: Answer): void {
    const pending = this.#pendingCommands.get(answer.id ?? -1);
    this.#pendingCommands.delete(answer.id ?? -1);
    if (answer.error === undefined) pending?.resolve(answer);
    else pending?.reject(new Error(answer.error));
  }
}

/** The path of a program of the workspace. */
export function program(name: string): string {
  const folder = process.env.TIDINGS_BIN_DIR ?? resolve(import.meta.dirname, "../../../target/debug");
  const path = join(folder, name);
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`cargo build --workspace\` first`);
  return path;
}

function toFlags(options: StackOptions): string[] {
  const env = (flag: string, settings: Readonly<Record<string, string | number>> = {}) =>
    Object.entries(settings).flatMap(([name, value]) => [flag, `${name}=${value}`]);
  return [
    `--gateways=${options.gateways ?? 1}`,
    `--persistence=${options.persistence ?? 1}`,
    ...env("--gateway-env", options.gatewayEnv),
    ...env("--persistence-env", options.persistenceEnv),
    ...(options.proxied === true ? ["--proxied"] : []),
    ...(options.files === true ? ["--files"] : []),
    ...(options.push === true ? ["--push"] : []),
  ];
}

function origin(origins: readonly string[], number: number): string {
  const found = origins[number];
  if (found === undefined) throw new Error(`there is no node ${number} of ${origins.length}`);
  return found;
}
