import { ChatApp } from "@tidings/react-ui";
import type { CSSProperties } from "react";

// A page sets these variables on :root, in its style sheet.
const theme = {
  "--tidings-accent": "light-dark(#6a3fd1, #b79cff)",
  "--tidings-accent-hover": "light-dark(#532fb0, #cbb8ff)",
  "--tidings-accent-soft": "light-dark(#ece5fb, #2c2150)",
  "--tidings-bubble-mine": "light-dark(#e3dafa, #3a2b6b)",
  "--tidings-font": "Georgia, serif",
  "--tidings-radius-l": "4px",
  "--tidings-radius-m": "4px",
} as CSSProperties;

export default function Theme() {
  return (
    <div style={theme}>
      <ChatApp />
    </div>
  );
}
