/**
 * The push service of Chromium in the tests, because a test browser has none. It decrypts what the server sends, as a
 * browser does, and gives it to the real service worker. Written by RFC 8291, without the code of the sender. Firefox
 * uses `setup/firefox-push.ts`, and decrypts itself.
 */
import { createDecipheriv, createECDH, hkdfSync, randomBytes, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { BrowserContext, CDPSession, Page } from "playwright-core";
import { usesFirefox } from "../setup/browser.js";

/** A push message as the service worker gets it. */
export interface PushMessage {
  readonly room: string;
  readonly seq: number;
  readonly title?: string;
}

/** A subscription as pages see it. */
interface Subscription {
  readonly endpoint: string;
  readonly applicationServerKey: string;
  readonly keys: { readonly p256dh: string; readonly auth: string };
}

/** The receiver of push messages: a browser, or a device without one. */
class Receiver {
  readonly received: PushMessage[] = [];
  readonly #ecdh = createECDH("prime256v1");
  readonly #publicKey = this.#ecdh.generateKeys();
  readonly #auth = randomBytes(16);
  /** The endpoints of all its subscriptions, also of those that have ended. */
  readonly endpoints: string[] = [];
  deliver: (text: string) => Promise<void> = async () => {};
  subscription: Subscription | undefined;

  subscribe(service: string, applicationServerKey: string): Subscription {
    const keys = {
      p256dh: this.#publicKey.toString("base64url"),
      auth: this.#auth.toString("base64url"),
    };
    const endpoint = `${service}/${randomUUID()}`;
    this.endpoints.push(endpoint);
    this.subscription = { endpoint, applicationServerKey, keys };
    return this.subscription;
  }

  /** Decrypts a message of one record. Throws if it is not encrypted for this receiver. */
  decrypt(body: Buffer): string {
    const salt = body.subarray(0, 16);
    const recordStart = 21 + (body[20] ?? 0);
    const sender = body.subarray(21, recordStart);
    const expand = (secret: ArrayBuffer | Buffer, salt: Buffer, info: Buffer | string, length: number) =>
      Buffer.from(hkdfSync("sha256", Buffer.from(secret as ArrayBuffer), salt, info, length));
    const info = Buffer.concat([Buffer.from("WebPush: info\0"), this.#publicKey, sender]);
    const secret = expand(this.#ecdh.computeSecret(sender), this.#auth, info, 32);
    const key = expand(secret, salt, "Content-Encoding: aes128gcm\0", 16);
    const nonce = expand(secret, salt, "Content-Encoding: nonce\0", 12);
    const decipher = createDecipheriv("aes-128-gcm", key, nonce);
    decipher.setAuthTag(body.subarray(-16));
    const content = Buffer.concat([decipher.update(body.subarray(recordStart, -16)), decipher.final()]);
    // The byte 2 ends the last record. Zeros may follow.
    return content.subarray(0, content.lastIndexOf(2)).toString();
  }
}

/** The push service. Start one for each test file. */
export class PushService {
  /** What went wrong with requests and deliveries. */
  readonly failures: string[] = [];
  readonly #server: Server = createServer((request, response) => {
    // The sender may end a request early, for example when its system stops.
    this.#answer(request, response).catch(() => response.destroy());
  });
  readonly #receivers = new Set<Receiver>();

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get #origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** A subscription of a device without a browser, and what it receives. */
  device(): { readonly subscription: object; readonly received: readonly PushMessage[] } {
    const receiver = this.#add();
    const { endpoint, keys } = receiver.subscribe(this.#origin, "");
    return { subscription: { endpoint, keys }, received: receiver.received };
  }

  /** Makes this the push service of the pages of a Chromium context, whose service worker is that of `origin`. */
  async serve(
    context: BrowserContext,
    origin: string,
  ): Promise<{ readonly received: readonly PushMessage[] }> {
    const receiver = this.#add();
    if (usesFirefox) return receiver;
    await context.exposeBinding("testPushService", async (_source, action: string, key = "") => {
      if (action === "subscribe") return receiver.subscribe(this.#origin, key);
      if (action === "unsubscribe") receiver.subscription = undefined;
      return receiver.subscription ?? null;
    });
    await context.addInitScript(useTestPushService);
    // The server may repeat an attempt after the end of the test.
    context.on("close", () => this.#receivers.delete(receiver));
    receiver.deliver = async (text) => {
      const [page] = context.pages();
      if (page === undefined)
        throw new Error("the context has no page through which a message can be delivered");
      await deliverToWorker(page, origin, text);
    };
    return receiver;
  }

  #add(): Receiver {
    const receiver = new Receiver();
    this.#receivers.add(receiver);
    return receiver;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const endpoint = this.#origin + request.url;
    const receiver = [...this.#receivers].find(({ endpoints }) => endpoints.includes(endpoint));
    const end = (status: number) => void response.writeHead(status).end();
    const fail = (status: number, reason: string) => {
      if (receiver && this.#receivers.has(receiver)) this.failures.push(reason);
      end(status);
    };
    if (receiver?.subscription?.endpoint !== endpoint)
      return fail(410, "a message after the end of a subscription");
    try {
      const { authorization, ttl, "content-encoding": encoding } = request.headers;
      const key = receiver.subscription.applicationServerKey;
      if (key && !authorization?.endsWith(`, k=${key}`)) throw new Error(`another sender: ${authorization}`);
      if (encoding !== "aes128gcm" || !ttl) throw new Error(`no push message: ${encoding}, ${ttl}`);
      const text = receiver.decrypt(Buffer.concat(chunks));
      await receiver.deliver(text);
      receiver.received.push(JSON.parse(text));
      end(201);
    } catch (error) {
      fail(400, String(error));
    }
  }
}

/** Gives a message to the service worker, as the browser does after it has decrypted it. */
async function deliverToWorker(page: Page, origin: string, data: string): Promise<void> {
  const session = await page.context().newCDPSession(page);
  try {
    const registrationId = await registrationOf(session, origin);
    await session.send("ServiceWorker.deliverPushMessage", { origin, registrationId, data });
  } finally {
    await session.detach();
  }
}

async function registrationOf(session: CDPSession, origin: string): Promise<string> {
  const found = new Promise<string>((resolve) => {
    session.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
      const registration = registrations.find(({ scopeURL }) => scopeURL === `${origin}/`);
      if (registration !== undefined) resolve(registration.registrationId);
    });
  });
  await session.send("ServiceWorker.enable");
  return found;
}

/** Replaces the subscriptions of the browser. Runs in the page, before its scripts. */
function useTestPushService(): void {
  type Call = (action: string, key?: string) => Promise<Subscription | null>;
  const call: Call = (...args) => (window as unknown as { testPushService: Call }).testPushService(...args);
  const toSubscription = (found: Subscription | null) => {
    if (found === null) return null;
    const { endpoint, keys, applicationServerKey } = found;
    const base64 = applicationServerKey.replaceAll("-", "+").replaceAll("_", "/");
    const { buffer } = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    return {
      endpoint,
      options: { userVisibleOnly: true, applicationServerKey: buffer },
      toJSON: () => ({ endpoint, expirationTime: null, keys }),
      unsubscribe: async () => (await call("unsubscribe")) === null,
    };
  };
  Object.assign(PushManager.prototype, {
    getSubscription: async () => toSubscription(await call("current")),
    subscribe: async (options: { userVisibleOnly: boolean; applicationServerKey: string }) => {
      if (!options.userVisibleOnly || Notification.permission !== "granted")
        throw new DOMException("not permitted", "NotAllowedError");
      return toSubscription(await call("subscribe", options.applicationServerKey));
    },
  });
}
