import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { compressFiles, serviceWorker, stylesAfterShell } from "./pwa/plugins.ts";

const outDir = fileURLToPath(new URL("dist", import.meta.url));

export default defineConfig({
  plugins: [react(), stylesAfterShell(), serviceWorker(outDir), compressFiles(outDir)],
  build: {
    outDir,
    // The demo, and the page of live examples.
    rolldownOptions: { input: ["index.html", "examples.html"] },
    target: "es2022",
    // From these versions on, browsers support light-dark().
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // The policy of the page permits only the inline code and styles that its HTML file has, so the build adds none.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
