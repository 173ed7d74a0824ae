/**
 * Makes a generator of UUIDv7. The ids ascend, also within one millisecond and when the clock is set back.
 * @param now milliseconds since 1970
 */
export function uuidMaker(now: () => number): () => string {
  let last = 0;
  let counter = 0;
  const hex = (value: number, length: number) => value.toString(16).padStart(length, "0");
  const random = (bits: number) => Math.floor(Math.random() * 2 ** bits);
  return () => {
    const time = Math.floor(now());
    if (time > last) {
      last = time;
      counter = random(10);
    } else if (++counter > 0xfff) {
      // The counter is full, so the id uses the next millisecond.
      last++;
      counter = 0;
    }
    const head = hex(last, 12);
    const tail = `7${hex(counter, 3)}-${hex(0x8000 + random(14), 4)}-${hex(random(48), 12)}`;
    return `${head.slice(0, 8)}-${head.slice(8)}-${tail}`;
  };
}
