// The events and lists that the kit gave to one person of one room. Records duplicates, wrong order, and
// differences between events and the final list.

const MAX_SENTENCES = 20;

export class Notes {
  /** Every event above this position must be given. */
  #start;
  /** The last position that was given. */
  cursor;
  /** By seq: `[seq, id, client id, sender, text]`. */
  #messages = new Map();
  #counts = { duplicated: 0, reordered: 0, others: 0 };
  #sentences = [];

  #record(kind, sentence) {
    this.#counts[kind] += 1;
    if (this.#sentences.length < MAX_SENTENCES) this.#sentences.push(sentence);
  }

  /** A log event was emitted. */
  onEvent(event) {
    if (this.cursor !== undefined && event.seq <= this.cursor) {
      const kind = this.#messages.has(event.seq) ? "duplicated" : "reordered";
      this.#record(kind, `${event.type} at ${event.seq} was given after ${this.cursor}`);
      return;
    }
    this.cursor = event.seq;
    if (event.type === "message:new") {
      const { seq, id, client_id, sender, content } = event;
      this.#messages.set(seq, [seq, id, client_id, sender.id, content]);
    }
    if (event.type === "message:void") this.#messages.delete(event.target);
  }

  /** The room is live with this list, which continues the events or was reloaded after too large a gap. */
  onLive(list) {
    const items = withPosition(list);
    const first = items[0]?.seq ?? 1;
    const isReloaded = this.#start === undefined || (list.hasOlder && first > (this.cursor ?? 0) + 1);
    if (isReloaded) {
      this.#start = list.hasOlder ? first - 1 : 0;
      this.#messages.clear();
    }
    for (const item of items) {
      if (!this.#messages.has(item.seq)) this.#messages.set(item.seq, row(item));
    }
    this.cursor = Math.max(this.cursor ?? 0, items.at(-1)?.seq ?? 0);
  }

  /** Compares all events with the final list and returns the result. */
  result(list) {
    if (this.#start === undefined)
      return { came: false, start: null, cursor: null, messages: [], ...this.#complaints() };
    const items = withPosition(list);
    const shown = new Map();
    let before = 0;
    for (const item of items) {
      if (shown.has(item.seq)) this.#record("duplicated", `${item.seq} is shown twice`);
      else if (item.seq < before) this.#record("reordered", `${item.seq} is shown behind ${before}`);
      shown.set(item.seq, row(item));
      before = item.seq;
    }
    for (const [seq, message] of this.#messages) {
      if (seq < (items[0]?.seq ?? 0)) continue;
      if (String(shown.get(seq)) !== String(message))
        this.#record("others", `${message} was given and is not shown`);
    }
    const messages = [
      ...this.#messages.values(),
      ...[...shown.values()].filter(([seq]) => !this.#messages.has(seq)),
    ];
    return {
      came: true,
      start: this.#start,
      cursor: Math.max(this.cursor ?? 0, before),
      messages,
      ...this.#complaints(),
    };
  }

  #complaints() {
    return { ...this.#counts, told: this.#sentences };
  }
}

/** The items that have a position. */
function withPosition(list) {
  return list.items.filter((item) => item.seq !== undefined);
}

function row(item) {
  return [item.seq, item.id ?? "", item.clientId, item.sender.id, item.content];
}
