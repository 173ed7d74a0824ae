/**
 * How the tabs of a browser agree about notifications: with the locks of the browser, which end with their tab. In a
 * browser without locks each tab acts alone, and notifications with the same tag replace each other.
 */

/** How long a tab keeps the claim to a message, in ms. Other tabs receive the message within this time. */
const CLAIM_MS = 30_000;

const visibleLock = (user: string) => `tidings/visible/${user}`;

/** Tells the other tabs while this tab is visible. Returns a function that ends it. */
export function markVisible(user: string): () => void {
  let release: (() => void) | undefined;
  const update = () => {
    release?.();
    release = undefined;
    if (document.hidden) return;
    const held = new Promise<void>((done) => {
      release = done;
    });
    void lockManager()
      ?.request(visibleLock(user), { mode: "shared" }, () => held)
      .catch(() => {});
  };
  update();
  document.addEventListener("visibilitychange", update);
  return () => {
    document.removeEventListener("visibilitychange", update);
    release?.();
  };
}

/** Whether this tab shows the notification of a message: no tab is visible, and no other tab shows it. */
export async function claimNotification(user: string, room: string, seq: number): Promise<boolean> {
  const locks = lockManager();
  if (locks === undefined) return true;
  try {
    const { held = [] } = await locks.query();
    if (held.some(({ name }) => name === visibleLock(user))) return false;
    return await new Promise<boolean>((decide, fail) => {
      locks
        .request(`tidings/notify/${user}/${room}/${seq}`, { ifAvailable: true }, async (lock) => {
          decide(lock !== null);
          if (lock !== null) await new Promise((done) => setTimeout(done, CLAIM_MS));
        })
        .catch(fail);
    });
  } catch {
    // The browser may forbid locks, for example in a private window.
    return true;
  }
}

/** The locks of the browser. Pages without a secure origin have none. */
function lockManager(): LockManager | undefined {
  return (navigator as Partial<Navigator>).locks;
}
