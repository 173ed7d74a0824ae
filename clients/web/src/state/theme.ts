import { useCallback, useState } from "react";
import { tryStorage } from "./tryStorage.ts";

/** The theme of the page: that of the system, or a fixed one. */
type Theme = "system" | "light" | "dark";

const THEME_KEY = "tidings.theme";

function storedTheme(): Theme {
  const stored = tryStorage(() => localStorage.getItem(THEME_KEY));
  return stored === "light" || stored === "dark" ? stored : "system";
}

/** The theme, and a function to change it. Without a storage the choice lasts only while the page is open. */
export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState(storedTheme);
  const choose = useCallback((next: Theme) => {
    setTheme(next);
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    tryStorage(() =>
      next === "system" ? localStorage.removeItem(THEME_KEY) : localStorage.setItem(THEME_KEY, next),
    );
  }, []);
  return [theme, choose];
}
