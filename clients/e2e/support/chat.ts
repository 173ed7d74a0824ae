/** The environment of one test file, and its users, whose browser contexts close after each test. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, inject, type TestContext } from "vitest";
import { sign } from "../../ts/test-system/token.js";
import { browserType, usesFirefox } from "../setup/browser.js";
import type { Environment, StackControl } from "../setup/environment.js";
import { Person, type PersonOptions } from "./person.js";

const ARTEFACTS = join(import.meta.dirname, "../artefacts");
const ACTION_TIMEOUT_MS = 15_000;
/** Makes names unique among all files of an environment, which run one at a time in separate processes. */
const runId = Date.now().toString(36).slice(-5);
let nameCount = 0;
let idCount = 0;

/** The options of `filledRoom`, which explains them. */
interface FilledRoomOptions {
  readonly count: number;
  readonly text: string;
  readonly read?: number;
  readonly kind?: "private" | "public";
}

/** The tools of one test file. Create one at the top of the file. */
export class Chat {
  readonly environment: Environment = environmentOfWorker();
  readonly stack: StackControl = remoteStack(this.environment.control);
  readonly #people: Person[] = [];
  #browser: Browser | undefined;

  constructor() {
    beforeAll(async () => {
      this.#browser = await browserType.connect(this.environment.browser);
    });
    afterEach((context) => this.#closeContexts(context));
    afterAll(() => this.#browser?.close());
  }

  /** The browser, for tests that need more than the methods here. */
  get browser(): Browser {
    if (this.#browser === undefined)
      throw new Error("the browser is available in tests only, not while the file is loaded");
    return this.#browser;
  }

  /** A name that no user and no room has had before. */
  name(prefix: string): string {
    nameCount += 1;
    return `${prefix} ${runId}${nameCount}`;
  }

  /** A user whose page shows the login screen. */
  async person(namePrefix: string, options: PersonOptions = {}): Promise<Person> {
    // Playwright cannot intercept requests of pages with a service worker, so a test must ask for the worker.
    const device = { serviceWorkers: "block", ...options.device } as const;
    const context = options.context ?? (await this.browser.newContext(device));
    context.setDefaultTimeout(ACTION_TIMEOUT_MS);
    if (usesFirefox && options.context === undefined) await context.addInitScript(insertTextLikeUser);
    await options.prepare?.(context);
    const person = new Person(this.name(namePrefix), await context.newPage(), options.recordNetwork);
    this.#people.push(person);
    const query = options.gateway === undefined ? "" : `?gateway=${options.gateway}`;
    const { demo, demoWithServices } = this.environment;
    await person.page.goto(`${options.services ? demoWithServices : demo}/${query}`);
    return person;
  }

  /** A user who is signed in. */
  async signedIn(namePrefix: string, options: PersonOptions = {}): Promise<Person> {
    const person = await this.person(namePrefix, options);
    await person.signIn();
    return person;
  }

  /** Opens another tab in the browser context of a user, who is signed in there as well. */
  async openTab(person: Person, origin = this.environment.demo): Promise<Person> {
    const page = await person.page.context().newPage();
    const tab = new Person(person.name, page);
    this.#people.push(tab);
    await page.goto(`${origin}/`);
    await tab.waitUntilReady();
    return tab;
  }

  /** Creates a room with this name and returns its id. The first user is the owner, the others are members. */
  async room(name: string, users: readonly string[], more: object = {}): Promise<string> {
    const [owner = "", ...others] = users;
    const members = others.map((user) => ({ user }));
    const body = { kind: "private", name, members, ...more };
    return (await this.http<{ room: string }>(owner, "POST", "/rooms", body)).room;
  }

  /** Sends a message of a user without a page, and returns its seq. */
  async post(user: string, room: string, content: string, more: object = {}): Promise<number> {
    idCount += 1;
    const body = { client_id: `post-${runId}-${idCount}`, content, ...more };
    return (await this.http<{ seq: number }>(user, "POST", `/rooms/${room}/messages`, body)).seq;
  }

  /**
   * Creates a room with many messages of one writer, one per minute; `#` in the text stands for the number of the
   * message. The other users are members from the start and have read the messages up to the seq `read`, by default
   * all. The messages are written to the database directly, not through the log, so nobody may have opened the room
   * before.
   */
  async filledRoom(
    name: string,
    [writer = "", ...others]: readonly string[],
    { count, text, read = count, kind = "private" }: FilledRoomOptions,
  ): Promise<string> {
    const room = await this.room(name, [writer, ...others], { kind });
    await this.stack.sql(
      `INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
       SELECT '${room}', n, gen_random_uuid(), '${writer}', 'fill-' || n, 'text', replace('${text}', '#', n::text), \
       now() - (${count} - n) * interval '1 minute', n FROM generate_series(1, ${count}) n; \
       UPDATE rooms SET head_seq = ${count} WHERE id = '${room}'`,
    );
    for (const user of others) {
      await this.http(user, "POST", `/rooms/${room}/read`, { seq: read });
    }
    return room;
  }

  /** The texts of the last 200 stored messages of a room. */
  async history(user: string, room: string): Promise<string[]> {
    const path = `/rooms/${room}/messages?limit=200`;
    const page = await this.http<{ messages: { content: string }[] }>(user, "GET", path);
    return page.messages.map((message) => message.content);
  }

  /** Sends an HTTP request directly to persistence, without the proxies. Rejects when the request fails. */
  async http<T = unknown>(user: string, method: string, path: string, body?: object): Promise<T> {
    const answer = await fetch(`${this.environment.addresses.direct.persistence[0]}/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${sign(user, this.environment.addresses.jwt_secret)}` },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  /** Saves a screenshot of a page when TIDINGS_PICTURES is set, because screenshots take time. */
  async screenshot(person: Person, name: string): Promise<void> {
    if (process.env.TIDINGS_PICTURES === "yes") await this.#saveScreenshot(person, name);
  }

  async #saveScreenshot(person: Person, name: string): Promise<void> {
    mkdirSync(ARTEFACTS, { recursive: true });
    await person.page.screenshot({ path: join(ARTEFACTS, `${name}.png`), animations: "disabled" });
  }

  /** Closes every browser context. Fails the test when a page had an error. Keeps screenshots of a failed test. */
  async #closeContexts({ task }: TestContext): Promise<void> {
    const people = this.#people.splice(0);
    if (task.result?.state === "fail") {
      const test = task.name.replace(/[^a-z0-9]+/gi, "-").slice(0, 60);
      for (const [index, person] of people.entries()) {
        await this.#saveScreenshot(person, `failed-${test}-${index}`).catch(() => undefined);
      }
    }
    await Promise.all(people.map(({ page }) => page.context().close()));
    expect(people.flatMap(({ errors }) => errors)).toEqual([]);
  }
}

/** The environment of this worker. Vitest numbers its running workers from 1, so no other worker uses it now. */
function environmentOfWorker(): Environment {
  const environment = inject("environments")[Number(process.env.VITEST_POOL_ID) - 1];
  if (environment === undefined) throw new Error(`worker ${process.env.VITEST_POOL_ID} has no environment`);
  return environment;
}

/** Controls the system over HTTP: see `serveControl`. */
function remoteStack(control: string): StackControl {
  const call =
    (name: string) =>
    async (...args: unknown[]) => {
      const answer = await fetch(control, {
        method: "POST",
        body: JSON.stringify({ command: name, args }),
      });
      const result = (await answer.json()) as { value?: unknown; error?: string };
      if (result.error !== undefined) throw new Error(`${name}: ${result.error}`);
      return result.value;
    };
  return new Proxy({} as StackControl, { get: (_, name) => call(String(name)) });
}

/**
 * Replaces the Playwright function that fills a field in Firefox. The original sets `value` directly, and React does
 * not notice that. Runs in the page.
 */
function insertTextLikeUser(): void {
  Object.defineProperty(window, "__pw_bidiInsertText", {
    get: () => (text: string) => void document.execCommand("insertText", false, text),
    set: () => undefined,
  });
}
