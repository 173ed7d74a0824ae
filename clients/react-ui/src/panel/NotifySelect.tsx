import type { RoomSummary } from "@tidings/client";
import { setNotify } from "@tidings/client/http";
import { useTidings } from "@tidings/react";
import { useId } from "react";
import { NOTIFY_LABELS, NOTIFY_LEVELS } from "../logic/notify.js";
import { useToast } from "../ui/Toasts.js";
import { useAction } from "../ui/useAction.js";

type NotifyLevel = RoomSummary["notify"];

/** Chooses for which messages of the room the user wants notifications, on all devices. */
export function NotifySelect({ room, level }: { room: string; level: NotifyLevel }) {
  const client = useTidings();
  const { busy, run } = useAction(useToast());
  const id = useId();
  return (
    <div className="tidings-notify tidings-line">
      <label htmlFor={id}>Notifications</label>
      <select
        id={id}
        className="tidings-role-select"
        value={level}
        disabled={busy}
        onChange={(event) => {
          const next = event.target.value as NotifyLevel;
          void run(() => setNotify(client, room, next));
        }}
      >
        {NOTIFY_LEVELS.map((one) => (
          <option key={one} value={one}>
            {NOTIFY_LABELS[one]}
          </option>
        ))}
      </select>
    </div>
  );
}
