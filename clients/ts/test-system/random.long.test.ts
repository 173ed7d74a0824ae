/** Random faults for half a minute. Long because more faults in a row find more: the proof grows with the time. */
import { testRandomFaults } from "./support/random.js";

testRandomFaults(Number(process.env.TIDINGS_SECONDS ?? 30));
