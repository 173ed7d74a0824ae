/** Long because ten thousand messages are scrolled through one screen after the other. */
import { LongRoom, testScroll } from "../support/history.js";

testScroll(new LongRoom(10_000), "ten thousand");
