import { defineConfig } from "vitest/config";

// Each by its own configuration. The demo in a browser is apart: `npm run e2e`.
// Tests against whole systems wait more than they compute: four workers keep two cores busy.
export default defineConfig({ test: { projects: ["ts", "react", "web"], maxWorkers: 4 } });
