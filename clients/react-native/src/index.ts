/**
 * Connects `@tidings/client` to an app of React Native. The app passes the native modules as arguments, so this package
 * depends on none of them, and an object with the same functions can take the place of each.
 */
export { type AppStateLike, type NetInfoLike, nativeLifecycle } from "./lifecycle.js";
export {
  type NotificationResponseLike,
  type NotificationsLike,
  notificationTaps,
} from "./notification-taps.js";
export { type SecureStoreLike, type StoredToken, secureToken } from "./secure-token.js";
