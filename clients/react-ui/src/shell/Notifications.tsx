import type { TidingsClientLike } from "@tidings/client";
import { useTidings } from "@tidings/react";
import { type ReactNode, useEffect, useRef, useState } from "react";
import {
  type NewMessage,
  type NotificationPreview,
  notificationText,
  wantsNotification,
} from "../logic/notify.js";
import { useChatUi } from "../state/chatUi.js";
import { createMuteCheck } from "../state/keepMutes.js";
import { keepPush } from "../state/keepPush.js";
import { claimNotification, markVisible } from "../state/notifyLocks.js";
import { notifyPermission } from "../state/notifyPermission.js";
import { closeNotifications, showNotification } from "../state/showNotification.js";
import { playTone } from "../state/tone.js";
import { tryStorage } from "../state/tryStorage.js";
import { Icon } from "../ui/Icon.js";

/** The properties of the notifications. */
export interface NotificationsProps {
  /**
   * Which texts notifications show, also on a locked screen: `all`; `public`, the default, without the texts of private
   * messages; or `none`.
   */
  readonly preview?: NotificationPreview;
  /** Whether a notification has a sound; false by default. */
  readonly sound?: boolean;
  /** The address of the icon of notifications. */
  readonly icon?: string | undefined;
  /**
   * Whether the service worker of the page shows push messages of the server; false by default. Then this browser is
   * registered for them once the user permits notifications, and the worker also shows the notifications of open pages.
   */
  readonly push?: boolean;
}

/** Where the time of "Not now" is kept, in ms since 1970. */
const DECLINED_KEY = "tidings.notifications.declined";
/** How long the notice stays away after "Not now", in ms. */
const DECLINED_MS = 14 * 24 * 3_600_000;

/**
 * Shows a notification for new messages while no tab shows the chat, according to the level of their room, and closes
 * it when the room is read. Asks for the permission with a notice, after the first message that arrives while the page
 * is hidden.
 */
export function Notifications({
  preview = "public",
  sound = false,
  icon,
  push = false,
}: NotificationsProps): ReactNode {
  const client = useTidings();
  const { user, go, goToMessage, mutes } = useChatUi();
  const [isAsking, setIsAsking] = useState(false);
  const latest = useRef({ preview, sound, icon, push, user });
  useEffect(() => {
    latest.current = { preview, sound, icon, push, user };
  });

  useEffect(() => {
    const open = (room: string, seq: number) => {
      window.focus();
      goToMessage(room, seq);
    };
    const isMuted = mutes && createMuteCheck(mutes);
    const notify = async (message: NewMessage) => {
      const me = latest.current.user;
      const find = () => client.rooms.get().items.find(({ id }) => id === message.room);
      let summary = find();
      if (!document.hidden || !wantsNotification(message, summary, me)) return;
      if (isMuted) {
        if (await isMuted(message.room)) return;
        // The user may have read the message while the mute was looked up.
        summary = find();
        if (!document.hidden || !wantsNotification(message, summary, me)) return;
      }
      const permission = notifyPermission();
      if (permission === "default" && !isDeclined()) setIsAsking(true);
      if (permission !== "granted" || !(await claimNotification(me ?? "", message.room, message.seq))) return;
      const { icon, preview, push: byWorker } = latest.current;
      const { title, body } = notificationText(message, summary, me, preview);
      const { room, seq } = message;
      const shown = await showNotification({ title, body, room, seq, icon, byWorker }, open);
      if (shown && latest.current.sound) playTone();
    };
    const removeListener = client.on("event", (event) => {
      if (event.type === "message:new") void notify(event);
    });
    // The service worker sends this after a click on its notification.
    const onWorkerMessage = ({ data }: MessageEvent) => {
      if (data?.type !== "tidings:open" || typeof data.room !== "string") return;
      if (Number.isSafeInteger(data.seq)) goToMessage(data.room, data.seq);
      else go({ room: data.room });
    };
    navigator.serviceWorker?.addEventListener("message", onWorkerMessage);
    return () => {
      removeListener();
      navigator.serviceWorker?.removeEventListener("message", onWorkerMessage);
    };
  }, [client, go, goToMessage, mutes]);

  useEffect(() => markVisible(user ?? ""), [user]);
  useEffect(() => closeWhenRead(client), [client]);
  useEffect(() => (push ? keepPush(client) : undefined), [client, push]);

  if (!isAsking) return null;
  const answer = (allow: boolean) => {
    setIsAsking(false);
    if (allow) void Notification.requestPermission();
    else tryStorage(() => window.localStorage.setItem(DECLINED_KEY, String(Date.now())));
  };
  return (
    <section className="tidings-notify-ask tidings-line" aria-label="Notifications">
      <Icon name="bell" />
      <p role="status">You have missed a message. Do you want notifications of new messages?</p>
      <button type="button" className="tidings-link-button" onClick={() => answer(true)}>
        Turn on
      </button>
      <button type="button" className="tidings-link-button" onClick={() => answer(false)}>
        Not now
      </button>
    </section>
  );
}

/** Closes the notifications of rooms that the user reads, here or elsewhere. Returns a function that ends this. */
function closeWhenRead(client: TidingsClientLike): () => void {
  let readSeqs = new Map<string, number>();
  const update = () => {
    const before = readSeqs;
    const { items } = client.rooms.get();
    if (items.every(({ id, readSeq }) => before.get(id) === readSeq)) return;
    readSeqs = new Map(items.map(({ id, readSeq }) => [id, readSeq]));
    void closeNotifications((room, seq) => seq <= (readSeqs.get(room) ?? 0));
  };
  update();
  return client.rooms.subscribe(update);
}

function isDeclined(): boolean {
  const declinedAt = Number(tryStorage(() => window.localStorage.getItem(DECLINED_KEY)) ?? 0);
  return Date.now() - declinedAt < DECLINED_MS;
}
