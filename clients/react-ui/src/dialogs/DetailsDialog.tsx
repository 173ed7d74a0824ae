import type { Member, Message } from "@tidings/client";
import { messageVersions } from "@tidings/client/http";
import { useReceipts, useRoom, useTidings } from "@tidings/react";
import { useCallback } from "react";
import { displayName, senderName } from "../logic/names.js";
import { importedAt, originalTime } from "../logic/originalTime.js";
import { audienceOf, recipientsOf, seenBy } from "../logic/ticks.js";
import { exactTime } from "../logic/time.js";
import { mayManage } from "../room/permissions.js";
import { useAllMembers, useIsSmall } from "../room/useRoomMembers.js";
import { useZone } from "../state/useNow.js";
import { ChatAvatar } from "../ui/ChatAvatar.js";
import { Dialog } from "../ui/Dialog.js";
import { usePages } from "../ui/usePages.js";

interface DetailsProps {
  readonly room: string;
  readonly message: Message;
  readonly onClose: () => void;
}

/** A dialog that shows when a message was sent and who received it. Admins and owners also see its earlier versions. */
export function DetailsDialog({ room, message, onClose }: DetailsProps) {
  const receipts = useReceipts(room);
  const members = useAllMembers(room);
  const isSmall = useIsSmall(room);
  const { summary } = useRoom(room);
  useZone();
  const { read, delivered } = recipientsOf(message, receipts, audienceOf(message, members));
  // Only the members tell who has the roles to which the message is private.
  const isAudienceKnown = members !== undefined || !message.visibleTo?.roles.length;
  const seen = summary?.kind === "direct" ? undefined : seenBy(message, receipts, members);
  const missing = seen?.unread.filter((user) => !delivered.includes(user)) ?? [];
  const importTime = importedAt(message.metadata) === undefined ? undefined : message.at;
  return (
    <Dialog title="Message details" onClose={onClose}>
      <dl className="tidings-details">
        <dt>From</dt>
        <dd>{senderName(message)}</dd>
        <dt>Sent</dt>
        <dd>{exactTime(originalTime(message))}</dd>
        {importTime !== undefined && (
          <>
            <dt>Imported</dt>
            <dd>{exactTime(importTime)}</dd>
          </>
        )}
        {message.editedAt !== undefined && (
          <>
            <dt>Edited</dt>
            <dd>{exactTime(message.editedAt)}</dd>
          </>
        )}
      </dl>
      {isAudienceKnown && isSmall && (
        <>
          <People title="Read by" users={read} members={members} empty="Nobody yet" />
          {delivered.length > 0 && <People title="Delivered to" users={delivered} members={members} />}
          {missing.length > 0 && <People title="Not delivered yet" users={missing} members={members} />}
        </>
      )}
      {isAudienceKnown && !isSmall && (
        <section className="tidings-details-part">
          <h3>Read by</h3>
          <p className="tidings-hint">{readersText(read.length)}</p>
        </section>
      )}
      {message.seq !== undefined && message.editedAt !== undefined && mayManage(summary) && (
        <Versions room={room} seq={message.seq} now={message.content} />
      )}
    </Dialog>
  );
}

/** The server names at most this many readers of a room, those who read last. */
const MAX_RECEIPTS = 1_000;

/** The number of readers of a message in a room that is too large for names. */
function readersText(count: number): string {
  if (count === 0) return "Nobody yet";
  if (count === 1) return "1 person";
  return `${count >= MAX_RECEIPTS - 1 ? "At least " : ""}${count.toLocaleString()} people`;
}

interface PeopleProps {
  readonly title: string;
  readonly users: readonly string[];
  readonly members: readonly Member[] | undefined;
  /** The text in place of an empty list. */
  readonly empty?: string;
}

function People({ title, users, members, empty }: PeopleProps) {
  const people = users.map((user) => {
    const member = members?.find((one) => one.user === user);
    return { user, name: displayName(user, member?.name), picture: member?.picture };
  });
  return (
    <section className="tidings-details-part">
      <h3>{title}</h3>
      {users.length === 0 && <p className="tidings-hint">{empty}</p>}
      <ul className="tidings-people">
        {people.map(({ user, name, picture }) => (
          <li key={user} className="tidings-line">
            <ChatAvatar id={user} name={name} size="small" picture={picture} />
            {name}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Versions({ room, seq, now }: { room: string; seq: number; now: string }) {
  const client = useTidings();
  const fetchPage = useCallback(async () => {
    // After a failed load the list is empty.
    const versions = await messageVersions(client, room, seq).catch(() => []);
    // The newest stored version may be the current text, which is not an earlier version.
    return { items: versions.at(-1)?.content === now ? versions.slice(0, -1) : versions, next: null };
  }, [client, room, seq, now]);
  const { page } = usePages(fetchPage, 0);
  return (
    <section className="tidings-details-part">
      <h3>Earlier versions</h3>
      {!page && <p className="tidings-hint">Loading…</p>}
      <ol className="tidings-versions">
        {page?.items.map((version) => (
          <li key={version.at}>
            <time dateTime={new Date(version.at).toISOString()}>{exactTime(version.at)}</time>
            <p>{version.content}</p>
          </li>
        ))}
      </ol>
    </section>
  );
}
