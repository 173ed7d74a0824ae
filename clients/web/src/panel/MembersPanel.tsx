import { leaveRoom, removeMember, setMember } from "@tidings/client/http";
import { useMembers, usePresence, useRoom, useTidings } from "@tidings/react";
import { useState } from "react";
import { errorWords } from "../logic/connection.ts";
import { roomTitle } from "../logic/title.ts";
import { mayManage } from "../room/permissions.ts";
import { useApp } from "../state/app.ts";
import { Button } from "../ui/Button.tsx";
import { ConfirmDialog } from "../ui/ConfirmDialog.tsx";
import { useToast } from "../ui/Toasts.tsx";
import { AddMember } from "./AddMember.tsx";
import { MemberRow } from "./MemberRow.tsx";
import { Panel } from "./Panel.tsx";
import { RoomSettings } from "./RoomSettings.tsx";
import { sortMembers } from "./sortMembers.ts";

/** So many people's presence is asked for. */
const WATCHED = 100;
/** So many more are shown at a time. */
const SHOWN = 200;

type Asked = { what: "leave" } | { what: "remove"; user: string; name: string };

/** Who is in a room and as what; adding, changing, removing and leaving. */
export function MembersPanel({ room }: { room: string }) {
  const client = useTidings();
  const { items, error, reload } = useMembers(room);
  const { summary } = useRoom(room);
  const { go, user } = useApp();
  const toast = useToast();
  const [asked, setAsked] = useState<Asked>();
  const [most, setMost] = useState(SHOWN);
  const presence = usePresence((items ?? []).slice(0, WATCHED).map((member) => member.user));
  const manages = mayManage(summary) && summary?.kind !== "direct" && !summary?.archived;
  const shown = sortMembers(items ?? [], (id) => presence.get(id)?.status);
  return (
    <Panel title="Members" onClose={() => go({ room })}>
      {summary && mayManage(summary) && summary.kind !== "direct" && (
        <RoomSettings room={room} summary={summary} />
      )}
      {manages && <AddMember room={room} />}
      {error && (
        <div className="side-notice" role="alert">
          <p>The members could not be loaded. {errorWords(error)}</p>
          <Button icon="retry" onClick={() => void reload()}>
            Try again
          </Button>
        </div>
      )}
      {items === undefined && !error && <MemberSkeleton />}
      {items && (
        <h3 className="side-heading">{items.length === 1 ? "1 member" : `${items.length} members`}</h3>
      )}
      <ul className="members">
        {shown.slice(0, most).map((member) => (
          <MemberRow
            key={member.user}
            member={member}
            me={member.user === user}
            summary={summary}
            presence={presence.get(member.user)}
            onRole={(role) => setMember(client, room, member.user, role)}
            onRemove={(name) => setAsked({ what: "remove", user: member.user, name })}
          />
        ))}
      </ul>
      {shown.length > most && (
        <Button look="quiet" onClick={() => setMost(most + SHOWN)}>
          Show more members
        </Button>
      )}
      {summary && summary.kind !== "direct" && !summary.archived && (
        <div className="panel-foot">
          <Button look="danger" icon="exit" onClick={() => setAsked({ what: "leave" })}>
            Leave room
          </Button>
        </div>
      )}
      {asked?.what === "leave" && (
        <ConfirmDialog
          title={`Leave ${roomTitle(summary)}?`}
          text={
            summary?.kind === "public"
              ? "You can join again at any time."
              : "You hear of this room no more, until somebody adds you again."
          }
          action="Leave"
          onConfirm={async () => {
            await leaveWords(leaveRoom(client, room));
            toast(`You left ${roomTitle(summary)}`);
            go({});
          }}
          onClose={() => setAsked(undefined)}
        />
      )}
      {asked?.what === "remove" && (
        <ConfirmDialog
          title={`Remove ${asked.name}?`}
          text="They hear of this room no more, until somebody adds them again."
          action="Remove"
          onConfirm={() => removeMember(client, room, asked.user)}
          onClose={() => setAsked(undefined)}
        />
      )}
    </Panel>
  );
}

/** The one refusal of leaving that is worth its own words. */
async function leaveWords(leaving: Promise<void>): Promise<void> {
  try {
    await leaving;
  } catch (error) {
    if ((error as { code?: string }).code === "conflict") {
      throw new Error("You are the last owner. Make somebody else owner first.");
    }
    throw error;
  }
}

function MemberSkeleton() {
  return (
    <div role="status" aria-label="Loading members">
      {["w6", "w4", "w7"].map((width) => (
        <div key={width} className="member">
          <span className="avatar avatar-medium skeleton" />
          <span className={`skeleton skeleton-text ${width}`} />
        </div>
      ))}
    </div>
  );
}
