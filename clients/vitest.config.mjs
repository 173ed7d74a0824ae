import { defineConfig } from "vitest/config";

// Each by its own configuration. The demo in a browser is apart: `npm run e2e`.
// Tests against whole systems wait more than they work, also on two cores.
export default defineConfig({ test: { projects: ["ts", "react", "web"], maxWorkers: 2 } });
