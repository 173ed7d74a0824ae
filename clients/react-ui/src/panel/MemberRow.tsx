import type { Member, PresenceState, RoomSummary } from "@tidings/client";
import { STATUS_LABELS } from "../logic/connection.js";
import { displayName } from "../logic/names.js";
import { lastSeen } from "../logic/time.js";
import { assignableRoles } from "../room/permissions.js";
import { useNow } from "../state/useNow.js";
import { IconButton } from "../ui/Button.js";
import { ChatAvatar } from "../ui/ChatAvatar.js";
import { useToast } from "../ui/Toasts.js";
import { useAction } from "../ui/useAction.js";

interface MemberRowProps {
  readonly member: Member;
  readonly me: boolean;
  readonly summary: RoomSummary | undefined;
  readonly presence: PresenceState | undefined;
  readonly onRole: (role: string) => Promise<void>;
  readonly onRemove: (name: string) => void;
}

const ROLE_LABELS: Readonly<Record<string, string>> = {
  owner: "Owner",
  admin: "Admin",
  member: "Member",
  guest: "Guest",
};
const roleLabel = (role: string) => ROLE_LABELS[role] ?? role;

/** One member: name, presence and role. Users who may manage the member see controls. */
export function MemberRow({ member, me, summary, presence, onRole, onRemove }: MemberRowProps) {
  const now = useNow(60_000);
  const { busy, run } = useAction(useToast());
  const name = displayName(member.user, member.name);
  const roles = assignableRoles(summary, member.role);
  const choices = roles.includes(member.role) || roles.length === 0 ? roles : [member.role, ...roles];
  const status =
    presence?.status === "offline" && presence.lastSeen !== null
      ? lastSeen(presence.lastSeen, now)
      : presence && STATUS_LABELS[presence.status];
  return (
    <li className="tidings-member tidings-line">
      <ChatAvatar id={member.user} name={name} picture={member.picture} status={presence?.status} />
      <span className="tidings-two-lines">
        <strong>
          {name}
          {me && <span className="tidings-member-you"> (you)</span>}
        </strong>
        <span>{status ?? "\u00a0"}</span>
      </span>
      {choices.length > 0 ? (
        <select
          className="tidings-role-select"
          aria-label={`Role of ${name}`}
          value={member.role}
          disabled={busy}
          onChange={(event) => void run(() => onRole(event.target.value))}
        >
          {choices.map((role) => (
            <option key={role} value={role}>
              {roleLabel(role)}
            </option>
          ))}
        </select>
      ) : (
        summary?.kind !== "direct" && <span className="tidings-role-name">{roleLabel(member.role)}</span>
      )}
      {choices.length > 0 && !me && (
        <IconButton
          icon="close"
          label={`Remove ${name}`}
          className="tidings-small"
          size={18}
          onClick={() => onRemove(name)}
        />
      )}
    </li>
  );
}
