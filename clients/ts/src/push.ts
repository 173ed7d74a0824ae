/**
 * Web Push: notifications of new messages while no page of the app is open, and rooms without them. The app has a
 * service worker that shows the notifications, and the server runs `tidings-push`.
 */
import type { TidingsClient } from "./client.js";
import { asError, errorText, TidingsError } from "./errors.js";
import { abortable, type HttpOptions } from "./net/http.js";
import { assertShape, filterShape } from "./protocol/check.js";
import { MutesFeature } from "./push/mutes.js";
import type { Mutes } from "./push/types.js";
import type { TidingsClientLike } from "./types.js";

/** The options of `enablePush` and `disablePush`. */
export interface PushOptions extends HttpOptions {
  /** The service worker that shows the notifications; by default the one of the page. */
  readonly registration?: ServiceWorkerRegistration | undefined;
}

/**
 * Whether push is on, or why it is not: the server has no push (`not_offered`), the browser has none or the page has no
 * service worker (`not_supported`), or the user has not permitted notifications (`not_permitted`).
 */
export type PushState = "enabled" | "not_offered" | "not_supported" | "not_permitted";

/** A device of the user, as the server lists it. Devices of apps have no endpoint. */
interface DeviceObject {
  readonly id: string;
  readonly endpoint?: string | null;
}

const DEVICES_PATH = "/me/devices";

/** The last change of the subscription, which the next one waits for. */
let lastChange: Promise<unknown> = Promise.resolve();

/** Runs one change of the subscription at a time, because a browser has only one subscription. */
function inTurn<T>(change: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  const result = lastChange.then(change).catch((thrown) => {
    throw asError(thrown, "unavailable");
  });
  lastChange = result.catch(() => {});
  return abortable(result, signal);
}

/**
 * Registers this browser for notifications of the current user, unless it is registered. Subscribes again if the key of
 * the server has changed. Call it after each start of the page, because browsers may change their subscription. Before,
 * ask the user for the permission with `Notification.requestPermission()`, in a click. A browser has one subscription,
 * which belongs to the user who was registered last. Rejects with TidingsError.
 */
export async function enablePush(
  client: TidingsClientLike,
  { registration, signal }: PushOptions = {},
): Promise<PushState> {
  const worker = registration ?? ((await currentWorker()) && (await navigator.serviceWorker.ready));
  if (!worker?.pushManager || typeof Notification !== "function") return "not_supported";
  if (Notification.permission !== "granted") return "not_permitted";
  return inTurn(() => subscribe(client, worker.pushManager, { signal }), signal);
}

async function subscribe(
  client: TidingsClientLike,
  pushManager: PushManager,
  options: HttpOptions,
): Promise<PushState> {
  const key = await serverKey(client, options);
  if (key === undefined) return "not_offered";
  const devices = await listDevices(client, options);
  let previous: PushSubscription | null;
  let subscription: PushSubscription | null;
  try {
    subscription = previous = await pushManager.getSubscription();
    if (previous && subscribedKey(previous) !== key) {
      await previous.unsubscribe();
      subscription = null;
    }
    subscription ??= await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
  } catch (thrown) {
    if ((thrown as { name?: unknown } | null)?.name === "NotAllowedError") return "not_permitted";
    const message = `The browser could not subscribe to its push service: ${errorText(thrown)}`;
    throw new TidingsError("unavailable", message, { cause: thrown });
  }
  if (previous && previous !== subscription) await removeDevice(client, devices, previous.endpoint, options);
  if (!findDevice(devices, subscription.endpoint))
    await client.http("POST", DEVICES_PATH, subscription.toJSON(), options);
  return "enabled";
}

/**
 * Ends the notifications of this browser, and removes it from the devices of the current user. Call it before the user
 * signs out. It rejects with TidingsError if the server still knows the device. The browser gets no notifications even
 * then, unless it could not end its subscription.
 */
export async function disablePush(
  client: TidingsClientLike,
  { registration, signal }: PushOptions = {},
): Promise<void> {
  const worker = registration ?? (await currentWorker());
  if (!worker?.pushManager) return;
  return inTurn(async () => {
    const subscription = await worker.pushManager.getSubscription();
    if (!subscription) return;
    // The subscription ends first, so that nothing more arrives even if the server cannot be reached. The device is
    // removed even if the subscription does not end.
    await subscription.unsubscribe().catch(() => false);
    const devices = await listDevices(client, { signal });
    await removeDevice(client, devices, subscription.endpoint, { signal });
  }, signal);
}

/**
 * The rooms of which the current user gets no push messages, on all devices. The same client always gives the same
 * object.
 */
export function mutes(client: TidingsClientLike): Mutes {
  return (client as TidingsClient).features.of(MutesFeature);
}

/** The service worker of the page, which may not be active yet. Browsers forbid it in some private windows. */
async function currentWorker(): Promise<ServiceWorkerRegistration | undefined> {
  if (typeof navigator === "undefined" || !navigator.serviceWorker) return undefined;
  return navigator.serviceWorker.getRegistration().catch(() => undefined);
}

/** The key with which the server identifies itself to push services; undefined if the server has no push. */
async function serverKey(client: TidingsClientLike, options: HttpOptions): Promise<string | undefined> {
  try {
    const answer = await client.http<{ key: string }>("GET", "/push/key", undefined, options);
    return assertShape(answer, "key").key;
  } catch (thrown) {
    if (thrown instanceof TidingsError && thrown.code === "not_found") return undefined;
    throw thrown;
  }
}

/** The key of a subscription in the form of the server: base64url without padding. */
function subscribedKey({ options }: PushSubscription): string {
  const bytes = new Uint8Array(options.applicationServerKey ?? new ArrayBuffer(0));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

async function listDevices(client: TidingsClientLike, options: HttpOptions): Promise<DeviceObject[]> {
  const answer = await client.http<{ devices?: unknown }>("GET", DEVICES_PATH, undefined, options);
  return filterShape<DeviceObject>(answer?.devices, "id endpoint?");
}

/** The device with this endpoint. The server stores endpoints as `URL` writes them. */
function findDevice(devices: readonly DeviceObject[], endpoint: string): DeviceObject | undefined {
  const { href } = new URL(endpoint);
  return devices.find((device) => device.endpoint === href);
}

async function removeDevice(
  client: TidingsClientLike,
  devices: readonly DeviceObject[],
  endpoint: string,
  options: HttpOptions,
): Promise<void> {
  const device = findDevice(devices, endpoint);
  if (!device) return;
  try {
    await client.http("DELETE", `${DEVICES_PATH}/${encodeURIComponent(device.id)}`, undefined, options);
  } catch (thrown) {
    // Push services and other tabs remove devices too.
    if (!(thrown instanceof TidingsError && thrown.code === "not_found")) throw thrown;
  }
}
