/** Somebody with the demo in a tab of a browser. */
import type { BrowserContext, Locator, Page } from "playwright-core";
import { expect } from "vitest";

/** How somebody's tab differs from others. */
export interface PersonOptions {
  /** Which gateway they keep to; any, another one each time, unless given. */
  readonly gateway?: number;
  /** Another tab of somebody's browser; a browser of their own unless given. */
  readonly context?: BrowserContext;
  /** Keeps what the network brings in `heard`. Only where a test needs it, because every answer is copied for it. */
  readonly records?: boolean | undefined;
  /** Of a browser of their own: size, colours, touch. */
  readonly device?: Parameters<import("playwright-core").Browser["newContext"]>[0];
}

/** A user in a tab. */
export class Person {
  /** What the page complained of, with nobody having allowed it. */
  readonly complaints: string[] = [];
  /** Each frame that came over WebSockets, and the body of each answer over HTTP, of a person who records. */
  readonly heard: string[] = [];
  /** The addresses of the WebSockets that were opened, in order. */
  readonly sockets: string[] = [];
  readonly #allowed: RegExp[] = [];

  constructor(
    readonly name: string,
    readonly page: Page,
    records = false,
  ) {
    page.on("console", (message) => {
      if (message.type() === "error") this.#complain(`${message.text()} (${message.location().url})`);
    });
    page.on("pageerror", (error) => this.#complain(`${error}`));
    page.on("websocket", (socket) => {
      this.sockets.push(socket.url());
      if (records) socket.on("framereceived", ({ payload }) => void this.heard.push(String(payload)));
    });
    if (!records) return;
    page.on("response", (response) => {
      // What has no body, or belongs to a page that is gone, says nothing.
      response.text().then(
        (text) => void this.heard.push(text),
        () => undefined,
      );
    });
  }

  #complain(text: string): void {
    if (!this.#allowed.some((allowed) => allowed.test(text))) this.complaints.push(text);
  }

  /** The id that belongs to the name. */
  get id(): string {
    return this.name.toLowerCase().replaceAll(" ", "-");
  }

  /** Lets the browser complain of connections that fail: the test breaks them. */
  allowBrokenConnections(): void {
    this.#allowed.push(/net::ERR_/, /WebSocket connection to .* failed/, /status of 50[0-9]/);
  }

  /** Lets the browser complain of answers with this status: the test provokes them. */
  allowStatus(status: number): void {
    this.#allowed.push(new RegExp(`status of ${status}`));
  }

  /** Signs in by the form, and waits until the rooms are there. */
  async signIn(): Promise<void> {
    await this.page.getByLabel("Your name").fill(this.name);
    await this.page.getByRole("button", { name: "Continue" }).click();
    await this.ready();
  }

  /** Waits until the rooms are there and the connection stands. */
  async ready(): Promise<void> {
    await this.account.filter({ hasText: "Online" }).waitFor();
    await this.page.getByRole("status", { name: "Loading rooms" }).waitFor({ state: "detached" });
  }

  /** Who one is, and how; opens the menu of what concerns oneself. */
  get account(): Locator {
    return this.page.getByTitle("Your menu");
  }

  /** The line of a room in the list. */
  listed(room: string): Locator {
    return this.page.getByRole("list", { name: "Your rooms" }).getByRole("link").filter({ hasText: room });
  }

  /** Opens a room by its line in the list, and waits until one can write there. */
  async open(room: string): Promise<void> {
    await this.listed(room).click();
    await this.page.getByRole("heading", { level: 1, name: room }).waitFor();
    await this.messages.waitFor();
  }

  /** Where one writes. */
  get composer(): Locator {
    return this.page.getByRole("textbox", { name: /^Message to / });
  }

  /** The list of messages. */
  get messages(): Locator {
    return this.page.getByRole("feed");
  }

  /** The messages that are in the page. */
  get rows(): Locator {
    return this.messages.getByRole("article");
  }

  /** The messages that say this. */
  row(text: string): Locator {
    return this.rows.filter({ has: this.page.locator(".bubble-text", { hasText: text }) });
  }

  /** What one's own message says of how far it has come. */
  tick(text: string): Locator {
    return this.row(text).getByRole("img", { name: /^(Sending|Sent|Delivered|Read)$/ });
  }

  /** Writes and sends, and waits until the message stands in the list. */
  async say(text: string): Promise<void> {
    await this.composer.fill(text);
    await this.composer.press("Enter");
    await this.row(text).waitFor();
  }

  /** Waits until a message shows this tick. */
  async ticked(text: string, tick: "Sending" | "Sent" | "Delivered" | "Read"): Promise<void> {
    await expect
      .poll(() => this.tick(text).getAttribute("aria-label"), { message: `${text} is ${tick}` })
      .toBe(tick);
  }

  /** What the messages in the page say, from top to bottom. */
  texts(): Promise<string[]> {
    return this.rows.locator(".bubble-text").allInnerTexts();
  }

  /** Waits until these are what the messages in the page say. */
  async reads(texts: readonly string[]): Promise<void> {
    await expect.poll(() => this.texts(), { message: `what ${this.name} reads` }).toEqual(texts);
  }

  /** Opens the menu of a message, with the pointer. */
  async menuOf(text: string): Promise<Locator> {
    await this.row(text).hover();
    await this.row(text).getByRole("button", { name: "More actions" }).click();
    return this.page.getByRole("menu", { name: "Message" });
  }

  /** Chooses from the menu of a message. */
  async choose(text: string, action: string): Promise<void> {
    const menu = await this.menuOf(text);
    await menu.getByRole("menuitem", { name: action }).click();
  }

  /** The banner that tells of the connection while it is not well. */
  get banner(): Locator {
    return this.page.getByTestId("connection-banner");
  }
}
