import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";
import { IconButton } from "./Button.tsx";

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
  const drop = useCallback((id: number) => setToasts((all) => all.filter((one) => one.id !== id)), []);
  const show = useCallback(
    (text: string) => {
      nextId += 1;
      const id = nextId;
      setToasts((all) => [...all.filter((one) => one.text !== text).slice(-2), { id, text }]);
      setTimeout(drop, TOAST_DURATION_MS, id);
    },
    [drop],
  );
  const list = useMemo(
    () => (
      <div className="toasts column" role="status">
        {toasts.map((toast) => (
          <div key={toast.id} className="toast line">
            <span>{toast.text}</span>
            <IconButton
              icon="close"
              label="Close notice"
              className="small"
              size={16}
              onClick={() => drop(toast.id)}
            />
          </div>
        ))}
      </div>
    ),
    [toasts, drop],
  );
  return (
    <ToastContext.Provider value={show}>
      {children}
      {list}
    </ToastContext.Provider>
  );
}
