/**
 * A whole Tidings of a test's own: Redis, PostgreSQL, gateways and persistence nodes, started by the program
 * `tidings-stack` and steered through its stdin. Everything ends with `stop()`, or with this process.
 * The program is taken from `TIDINGS_BIN_DIR`, else from the repository's debug build (`cargo build --workspace`).
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { type Claims, sign } from "./token.js";

/** How many of what, and their settings by environment name. */
export interface StackOptions {
  readonly gateways?: number;
  readonly persistence?: number;
  readonly gatewayEnv?: Readonly<Record<string, string | number>>;
  readonly persistenceEnv?: Readonly<Record<string, string | number>>;
  /** Clients come through proxies, whose weather `link` makes. */
  readonly proxied?: boolean;
}

/** Where everything is; origins such as `http://127.0.0.1:10042`. */
export interface Described {
  /** Of the gateways, as clients are to see them: through the proxies, where there are such. */
  readonly gateways: readonly string[];
  readonly persistence: readonly string[];
  /** The nodes themselves, around the proxies. */
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
export type ServerKind = "redis" | "postgres";

/** What becomes of the connections of clients to one node; `black_hole`, `refuse` and `delay` last until `heal`. */
export type Weather = "cut" | "reset" | "half_open" | "black_hole" | "refuse" | "delay" | "heal";

interface Answer {
  readonly id: number | null;
  readonly error?: string;
  readonly rows?: string[][];
  readonly value?: unknown;
  readonly text?: string;
}

interface Waiting {
  readonly answered: (answer: Answer) => void;
  readonly failed: (error: Error) => void;
}

/** A running system. Orders run side by side: await one before the next where the order matters. */
export class Stack {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<number, Waiting>();
  readonly #said: string[] = [];
  readonly #ended: Promise<void>;
  #described: Described | undefined;
  #orders = 0;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.#said.push(text));
    // An order after the end fails by the exit, which tells more than the broken pipe.
    child.stdin.on("error", () => undefined);
    this.#ended = new Promise((resolve) => {
      child.once("close", (code) => {
        const why = new Error(`tidings-stack ended (${code}): ${this.#said.join("").slice(-2000)}`);
        for (const { failed } of this.#waiting.values()) failed(why);
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /** Starts it, and returns when every node is ready. One gateway and one persistence node unless told. */
  static async start(options: StackOptions = {}): Promise<Stack> {
    const child = spawn(program("tidings-stack"), flags(options), { stdio: "pipe" });
    const stack = new Stack(child);
    const lines = createInterface({ input: child.stdout });
    await new Promise<void>((ready, failed) => {
      child.once("error", failed);
      // Until the first line comes, an end is a failure of the start.
      stack.#waiting.set(0, { answered: () => undefined, failed });
      lines.on("line", (line) => {
        if (stack.#described !== undefined) return stack.#hear(JSON.parse(line) as Answer);
        stack.#described = JSON.parse(line) as Described;
        stack.#waiting.delete(0);
        ready();
      });
    });
    return stack;
  }

  /** Where everything is. */
  get at(): Described {
    if (this.#described === undefined) throw new Error("the system has not started");
    return this.#described;
  }

  /** Origins of the gateways, as clients are to see them. */
  get gateways(): readonly string[] {
    return this.at.gateways;
  }

  /** Origins of the persistence nodes, as clients are to see them. */
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

  /** A good token of this user: an hour long unless told otherwise. */
  token(user: string, claims: Claims = {}): string {
    return sign(user, this.at.jwt_secret, claims);
  }

  /** SIGKILL. */
  async kill(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#order({ do: "kill", of, number });
  }

  /** SIGSTOP: it stands still, its sockets stay open. */
  async pause(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#order({ do: "pause", of, number });
  }

  /** SIGCONT. */
  async resume(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#order({ do: "resume", of, number });
  }

  /** SIGTERM; returns once it has ended. A gateway takes TIDINGS_DRAIN_MS for it, 1,000 here unless set. */
  async drain(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#order({ do: "drain", of, number });
  }

  /** Starts one that ended, on its old port and with its data; returns once it is ready. */
  async start(of: NodeKind | ServerKind, number = 0): Promise<void> {
    await this.#order({ do: "start", of, number });
  }

  /** Drains it where it runs and starts it again; Redis and PostgreSQL keep their data. */
  restart(of: NodeKind | ServerKind, number = 0): Promise<void> {
    return this.start(of, number);
  }

  /** Kills Redis and starts it without any data: a new epoch begins. */
  async emptyRedis(): Promise<void> {
    await this.#order({ do: "empty_redis" });
  }

  /** Makes weather on the connections of clients to a node. Needs `proxied`. */
  async link(to: NodeKind, number: number, weather: Weather, delayMs = 0): Promise<void> {
    await this.#order({ do: "link", to, number, weather, delay_ms: delayMs });
  }

  /** Runs SQL; rows of text, NULL as "". */
  async sql(query: string): Promise<string[][]> {
    return (await this.#order({ do: "sql", query })).rows ?? [];
  }

  /** Runs a command of Redis. */
  async redis(...command: string[]): Promise<unknown> {
    return (await this.#order({ do: "redis", command })).value;
  }

  /** The Prometheus page of a node. */
  async metrics(of: NodeKind, number = 0): Promise<string> {
    return (await this.#order({ do: "metrics", of, number })).text ?? "";
  }

  /** All that a node has logged. */
  async log(of: NodeKind, number = 0): Promise<string> {
    return (await this.#order({ do: "log", of, number })).text ?? "";
  }

  /** Ends everything. May be called twice. */
  async stop(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  #order(order: Readonly<Record<string, unknown>>): Promise<Answer> {
    this.#orders += 1;
    const id = this.#orders;
    return new Promise<Answer>((answered, failed) => {
      if (this.#child.exitCode !== null) return failed(new Error("the system has ended"));
      this.#waiting.set(id, { answered, failed });
      this.#child.stdin.write(`${JSON.stringify({ id, ...order })}\n`);
    });
  }

  #hear(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id ?? -1);
    this.#waiting.delete(answer.id ?? -1);
    if (answer.error === undefined) waiting?.answered(answer);
    else waiting?.failed(new Error(answer.error));
  }
}

/** The path of a program of the workspace. */
export function program(name: string): string {
  const folder = process.env.TIDINGS_BIN_DIR ?? resolve(import.meta.dirname, "../../../target/debug");
  const path = join(folder, name);
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`cargo build --workspace\` first`);
  return path;
}

function flags(options: StackOptions): string[] {
  const env = (flag: string, settings: Readonly<Record<string, string | number>> = {}) =>
    Object.entries(settings).flatMap(([name, value]) => [flag, `${name}=${value}`]);
  return [
    `--gateways=${options.gateways ?? 1}`,
    `--persistence=${options.persistence ?? 1}`,
    ...env("--gateway-env", options.gatewayEnv),
    ...env("--persistence-env", options.persistenceEnv),
    ...(options.proxied === true ? ["--proxied"] : []),
  ];
}

function origin(origins: readonly string[], number: number): string {
  const found = origins[number];
  if (found === undefined) throw new Error(`there is no node ${number} of ${origins.length}`);
  return found;
}
