import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";
import { IconButton } from "./Button.js";

interface Toast {
  readonly id: number;
  readonly text: string;
}

const TOAST_DURATION_MS = 6000;
const ToastContext = createContext<(text: string) => void>(() => {});
let nextId = 0;

/** Returns a function that shows a short notice at the bottom of the page. */
export const useToast = (): ((text: string) => void) => useContext(ToastContext);

/** Shows notices, which screen readers announce politely, until the user closes them or some time has passed. */
export function Toasts({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  const removeToast = useCallback((id: number) => setToasts((all) => all.filter((one) => one.id !== id)), []);
  const showToast = useCallback(
    (text: string) => {
      nextId += 1;
      const id = nextId;
      setToasts((all) => [...all.filter((one) => one.text !== text).slice(-2), { id, text }]);
      setTimeout(removeToast, TOAST_DURATION_MS, id);
    },
    [removeToast],
  );
  const list = useMemo(
    () => (
      <div className="tidings-toasts tidings-column" role="status">
        {toasts.map((toast) => (
          <div key={toast.id} className="tidings-toast tidings-line">
            <span>{toast.text}</span>
            <IconButton
              icon="close"
              label="Close notice"
              className="tidings-small"
              size={16}
              onClick={() => removeToast(toast.id)}
            />
          </div>
        ))}
      </div>
    ),
    [toasts, removeToast],
  );
  return (
    <ToastContext.Provider value={showToast}>
      {children}
      {list}
    </ToastContext.Provider>
  );
}
