import { defineConfig } from "vitest/config";

// Each package has its own configuration. `npm run e2e` runs the tests in a browser.
// Tests against complete systems mostly wait, so four workers keep two cores busy.
export default defineConfig({
  test: {
    projects: ["ts", "react", "react-ui", "react-native", "vue", "svelte", "solid", "web", "packed"],
    maxWorkers: 4,
  },
});
