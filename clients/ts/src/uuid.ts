/**
 * Returns a generator of UUIDv7. The ids ascend, also within one millisecond and when the clock is set back.
 * @param now milliseconds since 1970
 */
export function createUuidGenerator(now: () => number): () => string {
  /** The time of the last id, in 1/16 milliseconds. */
  let lastTime = 0;
  const hex = (value: number, length: number) => value.toString(16).padStart(length, "0");
  const random = (bits: number) => Math.floor(Math.random() * 2 ** bits);
  return () => {
    lastTime = Math.max(lastTime + 1, Math.floor(now()) * 16);
    // The first 12 digits are the milliseconds, the last one counts sixteenths.
    const time = hex(lastTime, 13);
    const tail = `700${time.slice(12)}-${hex(0x8000 + random(14), 4)}-${hex(random(48), 12)}`;
    return `${time.slice(0, 8)}-${time.slice(8, 12)}-${tail}`;
  };
}
