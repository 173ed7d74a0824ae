/** An additional gateway for one test, which can restart with other settings. */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { program, type Stack, type StackOptions } from "../stack.js";
import { waitUntil } from "./until.js";

/** An unused port. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

/** The settings that a system and its additional gateway must share. */
export class SharedSettings {
  private constructor(
    readonly persistence: string,
    readonly port: number,
    readonly admin: number,
  ) {}

  static async create(): Promise<SharedSettings> {
    const [persistence, port, admin] = await Promise.all([freePort(), freePort(), freePort()]);
    return new SharedSettings(`127.0.0.1:${persistence}`, port, admin);
  }

  /** The settings of the system. */
  get options(): StackOptions {
    return {
      gatewayEnv: { ...SECRET_ENV, TIDINGS_PERSISTENCE_URLS: `http://${this.persistence}` },
      persistenceEnv: { ...SECRET_ENV, TIDINGS_INTERNAL_LISTEN: this.persistence },
    };
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }
}

const SECRET_ENV = { TIDINGS_INTERNAL_SECRET: "a secret between the nodes of one test" };

/** The additional gateway; it runs from `start` to `stop`. */
export class AdditionalGateway {
  #child: ChildProcess | undefined;

  constructor(
    readonly stack: Stack,
    readonly shared: SharedSettings,
  ) {}

  /** Starts the gateway with these settings and returns once it is ready. */
  async start(settings: Readonly<Record<string, string>>): Promise<void> {
    const { shared, stack } = this;
    this.#child = spawn(program("tidings-gateway"), [], {
      stdio: "ignore",
      env: {
        ...process.env,
        ...SECRET_ENV,
        REDIS_URL: stack.at.redis_url,
        TIDINGS_JWT_SECRET: stack.at.jwt_secret,
        TIDINGS_PERSISTENCE_URLS: `http://${shared.persistence}`,
        TIDINGS_LISTEN: `127.0.0.1:${shared.port}`,
        TIDINGS_ADMIN_LISTEN: `127.0.0.1:${shared.admin}`,
        TIDINGS_WORKERS: "2",
        TIDINGS_DRAIN_MS: "1000",
        ...settings,
      },
    });
    await waitUntil(
      "the gateway is ready",
      async () => (await fetch(`http://127.0.0.1:${shared.admin}/readyz`)).ok,
    );
  }

  /** Sends the signal to the gateway and returns after its exit. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await exited;
  }
}
