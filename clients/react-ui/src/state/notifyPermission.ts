/** Whether the browser permits notifications; undefined if it has none. */
export function notifyPermission(): NotificationPermission | undefined {
  return typeof Notification === "function" ? Notification.permission : undefined;
}
