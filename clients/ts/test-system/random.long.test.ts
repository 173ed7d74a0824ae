/** Random faults for half a minute. Long, because the proof grows with the time. */
import { testRandomFaults } from "./support/random.js";

testRandomFaults(Number(process.env.TIDINGS_SECONDS ?? 30));
