import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // From these versions on, browsers support light-dark().
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // The policy of the page forbids inline code and styles, so the build must not inline anything.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
