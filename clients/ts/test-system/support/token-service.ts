/** A service that gives tokens over HTTP, as the server of an app does. A test can make it unreliable. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Stack } from "../stack.js";

/** How long a client waits for the service, in milliseconds. */
const CLIENT_TIMEOUT_MS = 500;

/** The token service of one test. */
export class TokenService {
  /** The probability that a request fails. Half of the failures have status 500, the others have no answer. */
  failureRate = 0;
  /** How many seconds each new token is valid. */
  ttl: number;
  /** The numbers of requests by outcome. */
  readonly outcomes = { answered: 0, refused: 0, unanswered: 0 };
  readonly #stack: Stack;
  readonly #random: () => number;
  readonly #server = createServer((request, response) => this.#answer(request.url ?? "", response));

  private constructor(stack: Stack, ttl: number, random: () => number) {
    this.#stack = stack;
    this.ttl = ttl;
    this.#random = random;
  }

  /** Starts a service whose tokens are valid for `ttl` seconds. */
  static async start(stack: Stack, ttl: number, random: () => number): Promise<TokenService> {
    const service = new TokenService(stack, ttl, random);
    await new Promise<void>((resolve) => service.#server.listen(0, "127.0.0.1", resolve));
    return service;
  }

  /** Asks the service for a token, as an app does. Rejects when the service fails. */
  async fetchToken(user: string): Promise<string> {
    const { port } = this.#server.address() as AddressInfo;
    const signal = AbortSignal.timeout(CLIENT_TIMEOUT_MS);
    const answer = await fetch(`http://127.0.0.1:${port}/${encodeURIComponent(user)}`, { signal });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`the token service answered ${answer.status}`);
    return text;
  }

  /** Stops the service. */
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(url: string, response: ServerResponse): void {
    const draw = this.#random();
    if (draw < this.failureRate / 2) {
      this.outcomes.refused += 1;
      response.writeHead(500).end();
    } else if (draw < this.failureRate) this.outcomes.unanswered += 1;
    else {
      this.outcomes.answered += 1;
      response.end(this.#stack.token(decodeURIComponent(url.slice(1)), { ttl: this.ttl }));
    }
  }
}
