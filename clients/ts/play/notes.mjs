// Records the events and lists that the kit gave to one person of one room, and notes duplicates, wrong order, and
// differences between the events and the final list.

const MAX_SENTENCES = 20;

export class Notes {
  /** The kit must emit each event above this seq. */
  #start;
  /** The seq of the last emitted event. */
  cursor;
  /** The messages by seq, each as `[seq, id, client id, sender, text]`. */
  #messages = new Map();
  #counts = { duplicated: 0, reordered: 0, others: 0 };
  #sentences = [];

  #record(kind, sentence) {
    this.#counts[kind] += 1;
    if (this.#sentences.length < MAX_SENTENCES) this.#sentences.push(sentence);
  }

  /** Records an emitted log event. */
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

  /**
   * Records that the room is live with this list. The list either continues after the last event, or was reloaded after
   * a large gap.
   */
  onLive(list) {
    const items = positionedItems(list);
    const first = items[0]?.seq ?? 1;
    const isReloaded = this.#start === undefined || (list.hasOlder && first > (this.cursor ?? 0) + 1);
    if (isReloaded) {
      this.#start = list.hasOlder ? first - 1 : 0;
      this.#messages.clear();
    }
    for (const item of items) {
      if (!this.#messages.has(item.seq)) this.#messages.set(item.seq, toRow(item));
    }
    this.cursor = Math.max(this.cursor ?? 0, items.at(-1)?.seq ?? 0);
  }

  /** Compares all events with the final list. Returns the counts of errors and the messages. */
  result(list) {
    if (this.#start === undefined)
      return { came: false, start: null, cursor: null, messages: [], ...this.#complaints() };
    const items = positionedItems(list);
    const shownRows = new Map();
    let previousSeq = 0;
    for (const item of items) {
      if (shownRows.has(item.seq)) this.#record("duplicated", `${item.seq} is shown twice`);
      else if (item.seq < previousSeq)
        this.#record("reordered", `${item.seq} is shown behind ${previousSeq}`);
      shownRows.set(item.seq, toRow(item));
      previousSeq = item.seq;
    }
    for (const [seq, message] of this.#messages) {
      if (seq < (items[0]?.seq ?? 0)) continue;
      if (String(shownRows.get(seq)) !== String(message))
        this.#record("others", `${message} was given and is not shown`);
    }
    const messages = [
      ...this.#messages.values(),
      ...[...shownRows.values()].filter(([seq]) => !this.#messages.has(seq)),
    ];
    return {
      came: true,
      start: this.#start,
      cursor: Math.max(this.cursor ?? 0, previousSeq),
      messages,
      ...this.#complaints(),
    };
  }

  #complaints() {
    return { ...this.#counts, told: this.#sentences };
  }
}

/** The items of a list that have a seq. */
function positionedItems(list) {
  return list.items.filter((item) => item.seq !== undefined);
}

function toRow(item) {
  return [item.seq, item.id ?? "", item.clientId, item.sender.id, item.content];
}
