/** A user of the demo in a browser tab. */
import type { BrowserContext, Locator, Page } from "playwright-core";
import { expect } from "vitest";

/** The options of a user's tab. */
export interface PersonOptions {
  /** The gateway that the page uses. By default the page changes to another gateway with each attempt. */
  readonly gateway?: number;
  /** Whether the page is of the demo with files and push. */
  readonly services?: boolean;
  /** The browser context of another user. By default each user has a new one. */
  readonly context?: BrowserContext;
  /** Whether `received` records network data. Set it only when a test needs this, because it copies every answer. */
  readonly recordNetwork?: boolean | undefined;
  /** Prepares a new browser context before it opens the page. */
  readonly prepare?: (context: BrowserContext) => Promise<void>;
  /** Settings of a new browser context: size, colours, touch. */
  readonly device?: Parameters<import("playwright-core").Browser["newContext"]>[0];
}

/** A user in a browser tab. */
export class Person {
  /** The errors of the page that the test did not allow. */
  readonly errors: string[] = [];
  /** With `recordNetwork`: each frame from a WebSocket, and the body of each HTTP answer. */
  readonly received: string[] = [];
  /** The addresses of the WebSockets that were opened, in order. */
  readonly sockets: string[] = [];
  readonly #allowedErrors: RegExp[] = [];

  constructor(
    readonly name: string,
    readonly page: Page,
    recordNetwork = false,
  ) {
    page.on("console", (message) => {
      if (message.type() === "error") this.#addError(`${message.text()} (${message.location().url})`);
    });
    page.on("pageerror", (error) => this.#addError(`${error}`));
    page.on("websocket", (socket) => {
      this.sockets.push(socket.url());
      if (recordNetwork)
        socket.on("framereceived", ({ payload }) => void this.received.push(String(payload)));
    });
    if (!recordNetwork) return;
    page.on("response", (response) => {
      // A response without a body, or of a closed page, rejects.
      response.text().then(
        (text) => void this.received.push(text),
        () => undefined,
      );
    });
  }

  #addError(text: string): void {
    if (!this.#allowedErrors.some((pattern) => pattern.test(text))) this.errors.push(text);
  }

  /** The user id that belongs to the name. */
  get id(): string {
    return this.name.toLowerCase().replaceAll(" ", "-");
  }

  /** Allows errors about failed connections, because the test breaks them. */
  allowBrokenConnections(): void {
    this.#allowedErrors.push(/net::ERR_/, /WebSocket connection to .* failed/, /status of 50[0-9]/);
    // The same errors in the words of Firefox.
    this.#allowedErrors.push(/can.t establish a connection/, /connection to .* was interrupted/);
    this.#allowedErrors.push(/Cross-Origin Request Blocked/);
  }

  /** Allows errors about answers with this status, because the test causes them. */
  allowStatus(status: number): void {
    this.#allowedErrors.push(new RegExp(`status of ${status}`));
  }

  /** Signs in with the form, and waits until the rooms are loaded. */
  async signIn(): Promise<void> {
    await this.page.getByLabel("Your name").fill(this.name);
    await this.page.getByRole("button", { name: "Continue" }).click();
    await this.waitUntilReady();
  }

  /** Waits until the page is connected and the rooms are loaded. */
  async waitUntilReady(): Promise<void> {
    await this.account.filter({ hasText: "Online" }).waitFor();
    await this.page.getByRole("status", { name: "Loading rooms" }).waitFor({ state: "detached" });
  }

  /** The button with the user's name and status, which opens the user's menu. */
  get account(): Locator {
    return this.page.getByTitle("Your menu");
  }

  /** The link of a room in the list. */
  roomLink(room: string): Locator {
    return this.page.getByRole("list", { name: "Your rooms" }).getByRole("link").filter({ hasText: room });
  }

  /** Opens a room with its link in the list, and waits until its messages are shown. */
  async open(room: string): Promise<void> {
    await this.roomLink(room).click();
    await this.page.getByRole("heading", { level: 1, name: room }).waitFor();
    await this.messages.waitFor();
  }

  /** The text field for a new message. */
  get composer(): Locator {
    return this.page.getByRole("textbox", { name: /^Message to / });
  }

  /** The list of messages. */
  get messages(): Locator {
    return this.page.getByRole("feed");
  }

  /** The messages that the page contains now. */
  get rows(): Locator {
    return this.messages.getByRole("article");
  }

  /** The messages with this text. */
  row(text: string): Locator {
    return this.rows.filter({ has: this.page.locator(".tidings-bubble-text", { hasText: text }) });
  }

  /** The tick of the user's own message. */
  tick(text: string): Locator {
    return this.row(text).getByRole("img", { name: /^(Sending|Sent|Delivered|Read)$/ });
  }

  /** Writes and sends a message, and waits until it is in the list. */
  async say(text: string): Promise<void> {
    await this.composer.fill(text);
    await this.composer.press("Enter");
    await this.row(text).waitFor();
  }

  /** Waits until a message has this tick. */
  async expectTick(text: string, tick: "Sending" | "Sent" | "Delivered" | "Read"): Promise<void> {
    await expect
      .poll(() => this.tick(text).getAttribute("aria-label"), { message: `${text} is ${tick}` })
      .toBe(tick);
  }

  /** The texts of the messages in the page, from top to bottom. */
  texts(): Promise<string[]> {
    return this.rows.locator(".tidings-bubble-text").allInnerTexts();
  }

  /** Waits until the messages in the page have exactly these texts. */
  async expectTexts(texts: readonly string[]): Promise<void> {
    await expect.poll(() => this.texts(), { message: `messages of ${this.name}` }).toEqual(texts);
  }

  /** Opens the menu of a message with the mouse. */
  async openMenuOf(text: string): Promise<Locator> {
    await this.row(text).hover();
    await this.row(text).getByRole("button", { name: "More actions" }).click();
    return this.page.getByRole("menu", { name: "Message" });
  }

  /** Chooses an item in the menu of a message. */
  async choose(text: string, action: string): Promise<void> {
    const menu = await this.openMenuOf(text);
    await menu.getByRole("menuitem", { name: action }).click();
  }

  /** The banner about a problem with the connection. */
  get banner(): Locator {
    return this.page.getByTestId("connection-banner");
  }
}
