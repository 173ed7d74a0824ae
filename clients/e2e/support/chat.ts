/** The shared system in the hands of one file of tests: people whose browsers end with each test. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, inject, type TestContext } from "vitest";
import { sign } from "../../ts/test-system/token.js";
import type { Steering, World } from "../setup/world.js";
import { Person, type PersonOptions } from "./person.js";

const ARTEFACTS = join(import.meta.dirname, "../artefacts");
const PATIENCE_MS = 15_000;
/** Names are used once over all files of a world, which run one behind the other in processes of their own. */
const run = Date.now().toString(36).slice(-5);
let names = 0;
let ids = 0;

/** What a file of tests works with. Make one at the top of the file. */
export class Chat {
  readonly world: World = worldOfWorker();
  readonly stack: Steering = steering(this.world.control);
  readonly #people: Person[] = [];
  #browser: Browser | undefined;

  constructor() {
    beforeAll(async () => {
      this.#browser = await chromium.connect(this.world.browser);
    });
    afterEach((context) => this.#leave(context));
    afterAll(() => this.#browser?.close());
  }

  /** The browser, for what the others do not do. */
  get browser(): Browser {
    if (this.#browser === undefined)
      throw new Error("the browser starts before the tests, not before the file");
    return this.#browser;
  }

  /** A name that nobody, and no room, has had before. */
  name(like: string): string {
    names += 1;
    return `${like} ${run}${names}`;
  }

  /** Somebody whose page shows where one signs in. Their browser ends with the test. */
  async person(like: string, options: PersonOptions = {}): Promise<Person> {
    const context = options.context ?? (await this.browser.newContext(options.device ?? {}));
    context.setDefaultTimeout(PATIENCE_MS);
    const person = new Person(this.name(like), await context.newPage(), options.records);
    this.#people.push(person);
    const query = options.gateway === undefined ? "" : `?gateway=${options.gateway}`;
    await person.page.goto(`${this.world.demo}/${query}`);
    return person;
  }

  /** Somebody who is signed in. */
  async signedIn(like: string, options: PersonOptions = {}): Promise<Person> {
    const person = await this.person(like, options);
    await person.signIn();
    return person;
  }

  /** Another tab in the browser of somebody, who is signed in there as well. */
  async tabOf(person: Person): Promise<Person> {
    const page = await person.page.context().newPage();
    const tab = new Person(person.name, page);
    this.#people.push(tab);
    await page.goto(`${this.world.demo}/`);
    await tab.ready();
    return tab;
  }

  /** A new room of the first of these, with the others as members, of that name; its id. */
  async room(name: string, users: readonly string[], more: object = {}): Promise<string> {
    const [owner = "", ...others] = users;
    const members = others.map((user) => ({ user }));
    const body = { kind: "private", name, members, ...more };
    return (await this.http<{ room: string }>(owner, "POST", "/rooms", body)).room;
  }

  /** A message of somebody without a page; its position. */
  async post(user: string, room: string, content: string, more: object = {}): Promise<number> {
    ids += 1;
    const body = { client_id: `post-${run}-${ids}`, content, ...more };
    return (await this.http<{ seq: number }>(user, "POST", `/rooms/${room}/messages`, body)).seq;
  }

  /**
   * A room in which a writer has said much, a line a minute, before others came: `#` in the text is the number. For the
   * others all of it is read up to a position, all unless given. Around the log, which is why nobody may be there yet.
   */
  async filledRoom(
    name: string,
    [writer = "", ...others]: readonly string[],
    { count, text, read = count }: { count: number; text: string; read?: number },
  ): Promise<string> {
    const room = await this.room(name, [writer]);
    await this.stack.sql(
      `INSERT INTO messages (room_id, seq, id, sender_id, client_id, kind, content, at, last_seq) \
       SELECT '${room}', n, gen_random_uuid(), '${writer}', 'fill-' || n, 'text', replace('${text}', '#', n::text), \
       now() - (${count} - n) * interval '1 minute', n FROM generate_series(1, ${count}) n; \
       UPDATE rooms SET head_seq = ${count} WHERE id = '${room}'`,
    );
    for (const user of others) {
      await this.http(writer, "PUT", `/rooms/${room}/members/${user}`);
      await this.http(user, "POST", `/rooms/${room}/read`, { seq: read });
    }
    return room;
  }

  /** What all messages of a room say, as storage has them: at most the last 200. */
  async history(user: string, room: string): Promise<string[]> {
    const path = `/rooms/${room}/messages?limit=200`;
    const page = await this.http<{ messages: { content: string }[] }>(user, "GET", path);
    return page.messages.map((message) => message.content);
  }

  /** Asks persistence around the proxies. Rejects for what is no success. */
  async http<T = unknown>(user: string, method: string, path: string, body?: object): Promise<T> {
    const answer = await fetch(`${this.world.at.direct.persistence[0]}/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${sign(user, this.world.at.jwt_secret)}` },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  /** Keeps a picture of a page among the artefacts, where TIDINGS_PICTURES asks for it: pictures take time. */
  async picture(person: Person, name: string): Promise<void> {
    if (process.env.TIDINGS_PICTURES === "yes") await this.#shoot(person, name);
  }

  async #shoot(person: Person, name: string): Promise<void> {
    mkdirSync(ARTEFACTS, { recursive: true });
    await person.page.screenshot({ path: join(ARTEFACTS, `${name}.png`), animations: "disabled" });
  }

  /** Ends every browser. No page may have complained of anything; of a failed test pictures are kept. */
  async #leave({ task }: TestContext): Promise<void> {
    const people = this.#people.splice(0);
    if (task.result?.state === "fail") {
      const test = task.name.replace(/[^a-z0-9]+/gi, "-").slice(0, 60);
      for (const [at, person] of people.entries()) {
        await this.#shoot(person, `failed-${test}-${at}`).catch(() => undefined);
      }
    }
    await Promise.all(people.map(({ page }) => page.context().close()));
    expect(people.flatMap(({ complaints }) => complaints)).toEqual([]);
  }
}

/** The world that no other worker uses at this time: Vitest numbers its running workers from 1. */
function worldOfWorker(): World {
  const world = inject("worlds")[Number(process.env.VITEST_POOL_ID) - 1];
  if (world === undefined) throw new Error(`there is no world for worker ${process.env.VITEST_POOL_ID}`);
  return world;
}

/** Steers the system over HTTP: see `serveControl`. */
function steering(control: string): Steering {
  const order =
    (name: string) =>
    async (...given: unknown[]) => {
      const answer = await fetch(control, {
        method: "POST",
        body: JSON.stringify({ order: name, with: given }),
      });
      const said = (await answer.json()) as { value?: unknown; error?: string };
      if (said.error !== undefined) throw new Error(`${name}: ${said.error}`);
      return said.value;
    };
  return new Proxy({} as Steering, { get: (_, name) => order(String(name)) });
}
