/** The system of one test file, with users whose clients are closed after each test. */
import { afterAll, afterEach, beforeAll, vi } from "vitest";
import { Stack, type StackOptions } from "../stack.js";
import { Person, type PersonOptions } from "./person.js";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

let nameCount = 0;

/** A system that starts before the tests of a file and stops after them. */
export class System {
  readonly #people: Person[] = [];
  #stack: Stack | undefined;

  constructor(options: StackOptions = {}) {
    beforeAll(async () => {
      this.#stack = await Stack.start(options);
    });
    afterEach(async () => {
      this.closeClients();
      if (options.proxied) await this.heal();
    });
    afterAll(() => this.#stack?.stop());
  }

  get stack(): Stack {
    if (this.#stack === undefined) throw new Error("the system starts before the tests, not before the file");
    return this.#stack;
  }

  /** A unique name, so that tests do not affect each other. */
  name(like: string): string {
    nameCount++;
    return `${like}-${nameCount}`;
  }

  /** A user whose client is closed after the test. It is not connected yet. */
  person(id: string, options: PersonOptions = {}): Person {
    const person = new Person(this.stack, id, options);
    this.#people.push(person);
    return person;
  }

  /** A connected user. */
  async connected(id: string, options: PersonOptions = {}): Promise<Person> {
    const person = this.person(id, options);
    await person.client.connect();
    return person;
  }

  /** Closes every client. */
  closeClients(): void {
    for (const person of this.#people.splice(0)) person.client.close();
  }

  /** Removes all faults of the connections. */
  async heal(): Promise<void> {
    const { gateways, persistence } = this.stack;
    await Promise.all([
      ...gateways.map((_, number) => this.stack.link("gateway", number, "heal")),
      ...persistence.map((_, number) => this.stack.link("persistence", number, "heal")),
    ]);
  }

  /** Creates a room of the first user, with the others as members. */
  async room(users: readonly string[], more: object = {}): Promise<string> {
    const [owner = "", ...others] = users;
    const members = others.map((user) => ({ user }));
    const created = await this.http<{ room: string }>(owner, "POST", "/rooms", {
      kind: "private",
      members,
      ...more,
    });
    return created.room;
  }

  /** Sends a request to persistence without proxies and without the kit. Rejects for an error status. */
  async http<T = unknown>(user: string, method: string, path: string, body?: object, scope = ""): Promise<T> {
    const answer = await fetch(`${this.stack.at.direct.persistence[0]}/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.stack.token(user, { scope })}` },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  /** Posts a message without the kit and returns its position. */
  async post(user: string, room: string, content: string, more: object = {}): Promise<number> {
    nameCount++;
    const client_id = `post-${nameCount}`;
    const path = `/rooms/${encodeURIComponent(room)}/messages`;
    return (await this.http<{ seq: number }>(user, "POST", path, { client_id, content, ...more })).seq;
  }

  /** Posts many messages concurrently. Only the position of the last one is defined. */
  async posts(user: string, room: string, count: number, text = "p"): Promise<void> {
    const texts = Array.from({ length: count - 1 }, (_, i) => `${text}${i + 1}`);
    const worker = async () => {
      for (let next = texts.shift(); next !== undefined; next = texts.shift())
        await this.post(user, room, next);
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    await this.post(user, room, `${text}${count}`);
  }
}
