import { keepOffline } from "@tidings/client/offline";
import { indexedDbStorage } from "@tidings/client/storage";
import { useTidings } from "@tidings/react";
import { useEffect } from "react";

/** One database for all clients of the page. The outbox stays in localStorage, which writes before a page closes. */
const storage = indexedDbStorage("tidings-cache");

/**
 * Keeps rooms and messages for the next start without a network. Must be a child of the provider, because the effects
 * of children run before the provider connects.
 */
export function KeepOffline() {
  const client = useTidings();
  useEffect(() => keepOffline(client, { storage }), [client]);
  return null;
}
