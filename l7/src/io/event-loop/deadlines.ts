/** Something that ends at a time. The fields are the wheel's own. */
export interface Expiring {
  /** Milliseconds of the loop's clock; Infinity: never. Set by `Deadlines.set` alone. */
  deadline: number;
  /** Tick in whose slot it waits; -1: in none. */
  tick: number;
  before: Expiring | undefined;
  after: Expiring | undefined;
  onDeadline(): void;
}

const tickMs = 50;
const slots = 2048;

/**
 * Deadlines of many connections, each moved at every request: a wheel of slots of 50 ms in which a
 * deadline that moves away stays where it was, and is put on when its old slot comes by. So moving it
 * is one assignment. Late by up to two ticks, never early.
 */
export class Deadlines {
  readonly #slots: (Expiring | undefined)[] = new Array(slots).fill(undefined);
  #tick: number;

  constructor(now: number) {
    this.#tick = Math.floor(now / tickMs);
  }

  /** Sets, moves, or (Infinity) takes away a deadline. */
  set(item: Expiring, at: number): void {
    item.deadline = at;
    if (at === Number.POSITIVE_INFINITY) return;
    if (item.tick >= 0) {
      if (at >= item.tick * tickMs) return;
      this.#unlink(item);
    }
    this.#link(item);
  }

  /** Forgets it. */
  remove(item: Expiring): void {
    item.deadline = Number.POSITIVE_INFINITY;
    if (item.tick >= 0) this.#unlink(item);
  }

  /** Calls all whose time has come. To be called about every tick. */
  advance(now: number): void {
    const until = Math.floor(now / tickMs);
    while (this.#tick < until) {
      this.#tick += 1;
      const slot = this.#tick % slots;
      let item = this.#slots[slot];
      while (item !== undefined) {
        this.#unlink(item);
        if (item.deadline <= now) item.onDeadline();
        else if (item.deadline !== Number.POSITIVE_INFINITY) this.#link(item);
        item = this.#slots[slot];
      }
    }
  }

  #link(item: Expiring): void {
    const wanted = Math.ceil(item.deadline / tickMs);
    item.tick = Math.min(Math.max(wanted, this.#tick + 1), this.#tick + slots - 1);
    const slot = item.tick % slots;
    const first = this.#slots[slot];
    item.before = undefined;
    item.after = first;
    if (first !== undefined) first.before = item;
    this.#slots[slot] = item;
  }

  #unlink(item: Expiring): void {
    if (item.before === undefined) this.#slots[item.tick % slots] = item.after;
    else item.before.after = item.after;
    if (item.after !== undefined) item.after.before = item.before;
    item.before = undefined;
    item.after = undefined;
    item.tick = -1;
  }
}
