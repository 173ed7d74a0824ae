// The service worker of the demo. It keeps the page itself, so that the page opens without a network: the build puts the
// constant SHELL (the version and the files) above this text. Answers of the chat are never kept here.
/* global SHELL */
const PREFIX = "tidings-shell-";
const CACHE = PREFIX + SHELL.version;
/** Pages of the previous version may still load its files. */
const KEPT_VERSIONS = 2;

self.addEventListener("install", (event) => {
  const store = async () => {
    const cache = await caches.open(CACHE);
    // The browser's own cache may hold an older file under a name without a hash.
    const requestOf = (file) =>
      new Request(file, { cache: file.startsWith("/assets/") ? "default" : "reload" });
    await cache.addAll(SHELL.files.map(requestOf));
    await self.skipWaiting();
  };
  event.waitUntil(store());
});

self.addEventListener("activate", (event) => {
  const takeOver = async () => {
    // The names are in the order in which the caches were made.
    const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
    await Promise.all(
      names.slice(0, Math.max(0, names.length + 1 - KEPT_VERSIONS)).map((name) => caches.delete(name)),
    );
    await self.clients.claim();
  };
  event.waitUntil(takeOver());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== self.location.origin) return;
  const isNavigation = request.mode === "navigate";
  // The server answers with index.html at each address without an extension. Other pages need the network.
  if (isNavigation && /\/(index\.html|[^/.]*)$/.test(pathname)) event.respondWith(openPage(request));
  // The name of an asset contains a hash of its content, so a kept asset is never out of date.
  else if (pathname.startsWith("/assets/")) event.respondWith(findAsset(request));
  else if (SHELL.files.includes(pathname)) event.respondWith(openFile(request));
});

/** Fetches the page. Without a network, or when the server fails, returns the kept page. */
async function openPage(request) {
  const kept = async () => (await caches.open(CACHE)).match("/");
  try {
    const response = await fetch(request);
    return response.status < 500 ? response : ((await kept()) ?? response);
  } catch (error) {
    const page = await kept();
    if (page) return page;
    throw error;
  }
}

/** Returns a kept asset, or fetches it and keeps it. */
async function findAsset(request) {
  const kept = await caches.match(request);
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) await (await caches.open(CACHE)).put(request, response.clone());
  return response;
}

/** Fetches a file whose name has no hash. Without a network, returns the kept file. */
async function openFile(request) {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await (await caches.open(CACHE)).match(request);
    if (kept) return kept;
    throw error;
  }
}

// Shows a push message: a JSON object {title, sender, body, unread, room, seq, tag}, see docs/clients/GUIDE.md.
self.addEventListener("push", (event) => {
  event.waitUntil(showPush(parsePush(event.data)));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(openMessage(event.notification.data ?? {}));
});

// The browser has ended the subscription, or has another one. Pages register it, because they have the user's token.
self.addEventListener("pushsubscriptionchange", (event) => {
  const tellPages = async () => {
    for (const page of await findPages()) page.postMessage({ type: "tidings:subscription" });
  };
  event.waitUntil(tellPages());
});

/** Parses a push message. A field of another type counts as absent, because the browser expects a notification anyway. */
function parsePush(data) {
  let sent;
  try {
    sent = data.json() ?? {};
  } catch {
    sent = {};
  }
  const textOf = (value, longest) => (typeof value === "string" && cut(value, longest)) || undefined;
  // A name must not reverse the text around it.
  const nameOf = (value) => textOf(value, 200)?.replace(/[\u202a-\u202e\u2066-\u2069]/g, "") || undefined;
  const numberOf = (value) => (Number.isSafeInteger(value) && value > 0 ? value : undefined);
  const title = nameOf(sent.title);
  const room = textOf(sent.room, 128);
  return {
    title: title ?? "Tidings",
    body: bodyOf(title, nameOf(sent.sender), textOf(sent.body, 500), numberOf(sent.unread)),
    tag: textOf(sent.tag, 200) ?? (room && `tidings/${room}`),
    room,
    seq: numberOf(sent.seq),
  };
}

/** The beginning of a text, which ends between two characters that users see; without `Intl.Segmenter` between code points. */
function cut(text, longest) {
  if (text.length <= longest) return text;
  if (!Intl.Segmenter) return text.slice(0, longest).replace(/[\ud800-\udbff]$/, "");
  return text.slice(0, new Intl.Segmenter().segment(text).containing(longest).index);
}

/** The text of a notification. The title of a direct room is the sender, who is not named again. */
function bodyOf(title, sender, body, unread = 1) {
  const named = sender !== undefined && sender !== title;
  if (body !== undefined) return named ? `${sender}: ${body}` : body;
  // The server counts up to 100.
  if (unread > 1) return `${unread < 100 ? unread : "100 or more"} new messages`;
  return named ? `New message from ${sender}` : "New message";
}

/** Shows a notification, always: browsers end the subscription of a worker that gets messages and shows nothing. */
async function showPush({ title, body, tag, room, seq }) {
  const options = { body, icon: "/icon.svg", data: { room, seq }, ...(tag !== undefined && { tag }) };
  const [shown] = tag === undefined ? [] : await self.registration.getNotifications({ tag });
  // A hidden page may have shown this message already, with more of it. Push services may also change the order.
  if (shown?.data?.seq >= seq)
    await self.registration.showNotification(shown.title, { ...options, body: shown.body, data: shown.data });
  else await self.registration.showNotification(title, options);
}

/** Focuses the page and opens a message in it. Without a page opens a new one. */
async function openMessage({ room, seq }) {
  const [page] = await findPages();
  if (page === undefined) {
    const place = seq === undefined ? "" : `/at/${seq}`;
    await self.clients.openWindow(room === undefined ? "/" : `/#/room/${encodeURIComponent(room)}${place}`);
    return;
  }
  if (room !== undefined) page.postMessage({ type: "tidings:open", room, seq });
  await page.focus();
}

/** The open pages of the chat, the one that was used last first. Another page of the site is no chat. */
async function findPages() {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  return pages.filter(({ url }) => /^\/(index\.html|[^/.]*)$/.test(new URL(url).pathname));
}
