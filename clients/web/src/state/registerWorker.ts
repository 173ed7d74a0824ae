/** Registers the service worker, which keeps the page for the next start without a network. */
export function registerWorker(): void {
  // Browsers have no service workers on pages without TLS, apart from this machine, and in some private windows.
  if (!("serviceWorker" in navigator)) return;
  // Waits for the page, because the worker loads the same files again.
  window.addEventListener("load", () => {
    navigator.serviceWorker.register("/sw.js").catch(() => {
      // Without the worker the page only needs a network to open.
    });
  });
}
