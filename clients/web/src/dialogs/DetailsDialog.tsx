import type { Message } from "@tidings/client";
import { messageVersions } from "@tidings/client/http";
import { useMembers, useReceipts, useRoom, useTidings } from "@tidings/react";
import { useCallback } from "react";
import { displayName, senderName } from "../logic/names.ts";
import { audienceOf, recipientsOf } from "../logic/ticks.ts";
import { exactTime } from "../logic/time.ts";
import { mayManage } from "../room/permissions.ts";
import { Avatar } from "../ui/Avatar.tsx";
import { Dialog } from "../ui/Dialog.tsx";
import { usePages } from "../ui/usePages.ts";

interface DetailsProps {
  readonly room: string;
  readonly message: Message;
  readonly onClose: () => void;
}

/** Shows when a message was sent and who received it. Admins and owners also see its earlier versions. */
export function DetailsDialog({ room, message, onClose }: DetailsProps) {
  const receipts = useReceipts(room);
  const members = useMembers(room).items;
  const { summary } = useRoom(room);
  const { read, delivered } = recipientsOf(message, receipts, audienceOf(message, members));
  const nameOf = (user: string) => displayName(user, members?.find((one) => one.user === user)?.name);
  return (
    <Dialog title="Message details" onClose={onClose}>
      <dl className="details">
        <dt>From</dt>
        <dd>{senderName(message)}</dd>
        <dt>Sent</dt>
        <dd>{exactTime(message.at)}</dd>
        {message.editedAt !== undefined && (
          <>
            <dt>Edited</dt>
            <dd>{exactTime(message.editedAt)}</dd>
          </>
        )}
      </dl>
      <People title="Read by" users={read} nameOf={nameOf} empty="Nobody yet" />
      {delivered.length > 0 && <People title="Delivered to" users={delivered} nameOf={nameOf} empty="" />}
      {message.seq !== undefined && message.editedAt !== undefined && mayManage(summary) && (
        <Versions room={room} seq={message.seq} now={message.content} />
      )}
    </Dialog>
  );
}

interface PeopleProps {
  readonly title: string;
  readonly users: readonly string[];
  readonly nameOf: (user: string) => string;
  readonly empty: string;
}

function People({ title, users, nameOf, empty }: PeopleProps) {
  return (
    <section className="details-part">
      <h3>{title}</h3>
      {users.length === 0 && <p className="hint">{empty}</p>}
      <ul className="people">
        {users.map((user) => (
          <li key={user} className="line">
            <Avatar id={user} name={nameOf(user)} size="small" />
            {nameOf(user)}
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
    const all = await messageVersions(client, room, seq).catch(() => []);
    // The last version may be the current text, which is not an earlier version.
    return { items: all.at(-1)?.content === now ? all.slice(0, -1) : all, next: null };
  }, [client, room, seq, now]);
  const { page } = usePages(fetchPage, 0);
  return (
    <section className="details-part">
      <h3>Earlier versions</h3>
      {!page && <p className="hint">Loading…</p>}
      <ol className="versions">
        {page?.items.map((version) => (
          <li key={version.at}>
            <time dateTime={version.at}>{exactTime(Date.parse(version.at))}</time>
            <p>{version.content}</p>
          </li>
        ))}
      </ol>
    </section>
  );
}
