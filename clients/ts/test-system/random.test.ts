/** Random faults for a few seconds. The long gate runs them for longer: see random.long.test.ts. */
import { testRandomFaults } from "./support/random.js";

testRandomFaults(Number(process.env.TIDINGS_SECONDS ?? 4));
