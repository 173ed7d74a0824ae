import { leaveRoom, removeMember, setMember } from "@tidings/client/http";
import { useMembers, usePresence, useRoom, useTidings } from "@tidings/react";
import { type ReactNode, useRef, useState } from "react";
import { plural } from "../logic/names.js";
import { roomTitle } from "../logic/title.js";
import { mayManage } from "../room/permissions.js";
import { useChatUi } from "../state/chatUi.js";
import { Button } from "../ui/Button.js";
import { ConfirmDialog } from "../ui/ConfirmDialog.js";
import { LoadError } from "../ui/LoadError.js";
import { MoreMembers } from "../ui/MoreMembers.js";
import { useToast } from "../ui/Toasts.js";
import { AddMember } from "./AddMember.js";
import { MemberRow } from "./MemberRow.js";
import { NotifySelect } from "./NotifySelect.js";
import { Panel } from "./Panel.js";
import { RoomSettings } from "./RoomSettings.js";
import { sortMembers } from "./sortMembers.js";

/** The panel watches the presence of this many members at most. */
const MAX_WATCHED_MEMBERS = 100;

/** What the user is asked to confirm. `user` and `name` are those of the member to remove. */
type Confirmation = { what: "leave" } | { what: "remove"; user: string; name: string };

/** The panel with the members of a room: shows, adds, changes and removes members, and leaves the room. */
export function MembersPanel({ room }: { readonly room: string }): ReactNode {
  const client = useTidings();
  const { items, error, hasMore, reload, loadMore } = useMembers(room);
  const { summary } = useRoom(room);
  const { go, user } = useChatUi();
  const toast = useToast();
  const list = useRef<HTMLUListElement>(null);
  const [confirmation, setConfirmation] = useState<Confirmation>();
  const presence = usePresence((items ?? []).slice(0, MAX_WATCHED_MEMBERS).map((member) => member.user));
  const groupSummary = summary?.kind === "direct" ? undefined : summary;
  const count = hasMore ? (summary?.members ?? 0) : (items?.length ?? 0);
  const sortedMembers = sortMembers(items ?? [], (id) => presence.get(id)?.status);
  return (
    <Panel title="Members" onClose={() => go({ room })}>
      {summary && <NotifySelect room={room} level={summary.notify} />}
      {groupSummary && mayManage(groupSummary) && <RoomSettings room={room} summary={groupSummary} />}
      {groupSummary && mayManage(groupSummary) && !groupSummary.archived && <AddMember room={room} />}
      {error && (
        <LoadError
          text="The members could not be loaded."
          error={error}
          onRetry={hasMore ? loadMore : reload}
        />
      )}
      {items === undefined && !error && <MemberSkeleton />}
      {items && <h3 className="tidings-side-heading">{plural(count, "member")}</h3>}
      <ul className="tidings-members" ref={list}>
        {sortedMembers.map((member) => (
          <MemberRow
            key={member.user}
            member={member}
            me={member.user === user}
            summary={summary}
            presence={presence.get(member.user)}
            onRole={(role) =>
              explainConflict(
                setMember(client, room, member.user, role),
                "A room needs an owner. Make another member an owner first.",
              )
            }
            onRemove={(name) => setConfirmation({ what: "remove", user: member.user, name })}
          />
        ))}
      </ul>
      {items && (
        <MoreMembers list={list} count={items.length} hasMore={hasMore && !error} onMore={loadMore} />
      )}
      {groupSummary && !groupSummary.archived && (
        <div className="tidings-panel-foot">
          <Button variant="danger" icon="exit" onClick={() => setConfirmation({ what: "leave" })}>
            Leave room
          </Button>
        </div>
      )}
      {confirmation?.what === "leave" && (
        <ConfirmDialog
          title={`Leave ${roomTitle(summary)}?`}
          text={
            summary?.kind === "public"
              ? "You can join again at any time."
              : "You will not see this room any more until someone adds you again."
          }
          action="Leave"
          onConfirm={async () => {
            await explainConflict(
              leaveRoom(client, room),
              "You are the last owner. Make another member an owner first.",
            );
            toast(`You left ${roomTitle(summary)}`);
            go({});
          }}
          onClose={() => setConfirmation(undefined)}
        />
      )}
      {confirmation?.what === "remove" && (
        <ConfirmDialog
          title={`Remove ${confirmation.name}?`}
          text="They will not see this room any more until someone adds them again."
          action="Remove"
          onConfirm={() => removeMember(client, room, confirmation.user)}
          onClose={() => setConfirmation(undefined)}
        />
      )}
    </Panel>
  );
}

/** Replaces the error `conflict` by a text that explains why the last owner cannot leave or take another role. */
function explainConflict(change: Promise<void>, text: string): Promise<void> {
  return change.catch((error: { code?: string }) => {
    throw error.code === "conflict" ? new Error(text) : error;
  });
}

function MemberSkeleton() {
  return (
    <div role="status" aria-label="Loading members">
      {["60%", "40%", "70%"].map((width) => (
        <div key={width} className="tidings-member tidings-line">
          <span className="tidings-avatar tidings-avatar-medium tidings-skeleton" />
          <span className="tidings-skeleton tidings-skeleton-text" style={{ width }} />
        </div>
      ))}
    </div>
  );
}
