import type { ReactNode } from "react";
import { notifyPermission } from "../state/notifyPermission.js";
import { Button } from "../ui/Button.js";
import { Dialog } from "../ui/Dialog.js";
import { useToast } from "../ui/Toasts.js";

const PERMISSION_TEXTS: Readonly<Record<NotificationPermission, string>> = {
  default: "Notifications are off. When you turn them on, the browser asks for your permission.",
  denied: "The browser blocks notifications. To allow them, open its settings for this site.",
  granted: "Notifications are on. To turn them off, open the settings of the browser for this site.",
};

/** A dialog that says whether the browser permits notifications, and asks the browser for the permission. */
export function NotificationsDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const toast = useToast();
  const permission = notifyPermission();
  const ask = async () => {
    // Some browsers reject, or return nothing.
    await Notification.requestPermission()?.catch(() => undefined);
    const answer = notifyPermission();
    // The user may close the question without an answer.
    if (!answer || answer === "default") return;
    toast(PERMISSION_TEXTS[answer]);
    onClose();
  };
  return (
    <Dialog
      title="Notifications"
      onClose={onClose}
      confirm={
        permission === "default" && (
          <Button variant="primary" data-autofocus="" onClick={() => void ask()}>
            Turn on
          </Button>
        )
      }
    >
      <p>{permission ? PERMISSION_TEXTS[permission] : "This browser has no notifications."}</p>
      {permission === "granted" && (
        <p className="tidings-hint">
          You get them while no tab shows the chat. The menu of each room sets for which messages.
        </p>
      )}
    </Dialog>
  );
}
