import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // Of these on browsers choose between two colours themselves.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // The page's policy allows no inline code or styles, so nothing may be folded into the page.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
