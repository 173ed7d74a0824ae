import { createContext, type ReactNode, useCallback, useContext, useMemo, useState } from "react";
import { IconButton } from "./Button.tsx";

interface Toast {
  readonly id: number;
  readonly text: string;
}

const SHOWN_MS = 6000;
const ToastContext = createContext<(text: string) => void>(() => {});
let nextId = 0;

/** Shows a short notice at the foot of the page. */
export const useToast = (): ((text: string) => void) => useContext(ToastContext);

/** Where notices appear: read out politely, gone after a while or when closed. */
export function Toasts({ children }: { children: ReactNode }) {
  const [toasts, setToasts] = useState<readonly Toast[]>([]);
  const drop = useCallback((id: number) => setToasts((all) => all.filter((one) => one.id !== id)), []);
  const show = useCallback(
    (text: string) => {
      nextId += 1;
      const id = nextId;
      setToasts((all) => [...all.filter((one) => one.text !== text).slice(-2), { id, text }]);
      setTimeout(drop, SHOWN_MS, id);
    },
    [drop],
  );
  const list = useMemo(
    () => (
      <div className="toasts" role="status">
        {toasts.map((toast) => (
          <div key={toast.id} className="toast">
            <span>{toast.text}</span>
            <IconButton icon="close" label="Close notice" size={16} onClick={() => drop(toast.id)} />
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
