/** Long because the test scrolls through ten thousand messages, one screen at a time. */
import { LongRoom, testScroll } from "../support/history.js";

testScroll(new LongRoom(10_000), "ten thousand");
