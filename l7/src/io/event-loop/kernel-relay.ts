import { epollEvent } from '@l4d/kit/ffi/event-socket.ts';
import type { KernelTunnel } from '../kernel-relays.ts';
import type { EventLoop } from './loop.ts';
import { type Detached, Stream } from './stream.ts';

/** What a relay in the kernel needs besides its tunnel; as in RelayEnds. */
export interface KernelRelayParts {
  readonly idleMs: number;
  readonly quietMs: number;
  readonly onClosed: () => void;
  /** Called when more waited than may; both ends are reset then. */
  readonly onOverLimit: () => void;
}

/** How often is looked whether what came before an end was passed on. */
const lookMs = 50;
/** The same, for the first moment after an end. */
const firstLookMs = 1;
const firstLooks = 20;

/**
 * Goes on with two connections whose bytes the kernel passes on: passes on their ends and failures, and ends them when
 * nothing has come for too long, or too much waits.
 */
export function continueInKernel(
  loop: EventLoop,
  ends: readonly [Detached, Detached],
  tunnel: KernelTunnel,
  parts: KernelRelayParts,
): void {
  const relay = new KernelRelay(tunnel, parts, loop.now);
  relay.ends = [new KernelRelayEnd(loop, ends[0], relay, 0), new KernelRelayEnd(loop, ends[1], relay, 1)];
  relay.look();
}

class KernelRelay {
  ends: readonly [KernelRelayEnd, KernelRelayEnd] | undefined = undefined;
  readonly #tunnel: KernelTunnel;
  readonly #parts: KernelRelayParts;
  readonly #begun: number;
  /** Whose peer says no more. */
  readonly #ended = [false, false];
  /** Who was told of the other's end. */
  readonly #told = [false, false];
  #over = false;
  #looks = 0;
  #draining = false;

  constructor(tunnel: KernelTunnel, parts: KernelRelayParts, now: number) {
    this.#tunnel = tunnel;
    this.#parts = parts;
    this.#begun = now;
    tunnel.onBroken = () => {
      parts.onOverLimit();
      this.end('reset');
    };
  }

  /** Sees to all that may be due, and to being called again. */
  look(): void {
    const { ends } = this;
    if (this.#over || ends === undefined) return;
    const [first] = ends;
    for (const side of [0, 1] as const) this.#passEnd(side);
    if (this.#ended[0] && this.#ended[1] && this.#told[0] && this.#told[1]) return void this.end('close');
    const { quietMs } = this;
    if (quietMs >= this.#parts.idleMs) return void this.end('leave');
    const isPassing = this.#ended.some((ended, side) => ended && !this.#told[1 - side]);
    if (isPassing && this.#looks++ < firstLooks) setTimeout(() => this.look(), firstLookMs);
    const dueMs = this.#parts.idleMs - quietMs;
    first.setDeadline(isPassing ? Math.min(lookMs, dueMs) : dueMs);
  }

  /** Milliseconds since a byte came. */
  get quietMs(): number {
    return Math.min(this.#tunnel.quietMs(), performance.now() - this.#begun);
  }

  onEnded(side: 0 | 1): void {
    if (this.#ended[side]) return;
    this.#ended[side] = true;
    this.look();
  }

  #passEnd(side: 0 | 1): void {
    const other = side === 0 ? 1 : 0;
    if (!this.#ended[side] || this.#told[other] || !this.#tunnel.isPassedOn(side)) return;
    this.#told[other] = true;
    if (!this.#ended[other]) this.ends?.[other].endWriting();
  }

  /** As RelayEnd.endDrain. */
  endDrain(): void {
    const { ends } = this;
    if (this.#draining || this.#over || ends === undefined) return;
    if (this.#parts.quietMs > 0 && this.quietMs < this.#parts.quietMs) return;
    if (!this.#tunnel.isPassedOn(0) || !this.#tunnel.isPassedOn(1)) return;
    this.#draining = true;
    for (const side of [0, 1] as const) {
      if (!this.#told[side]) ends[side].endWriting();
      this.#told[side] = true;
    }
  }

  /** `leave`: as closed, unless something is under way that would be lost, which a reset tells of. */
  end(how: 'close' | 'reset' | 'leave'): void {
    const { ends } = this;
    if (this.#over || ends === undefined) return;
    this.#over = true;
    const isWhole =
      how === 'close' || (how === 'leave' && this.#tunnel.isPassedOn(0) && this.#tunnel.isPassedOn(1));
    for (const end of ends) {
      if (isWhole) end.close();
      else end.reset();
    }
    this.#tunnel.release();
    this.#parts.onClosed();
  }

  get isOver(): boolean {
    return this.#over;
  }
}

class KernelRelayEnd extends Stream {
  readonly #relay: KernelRelay;
  readonly #side: 0 | 1;

  constructor(loop: EventLoop, { fd, tls }: Detached, relay: KernelRelay, side: 0 | 1) {
    super(loop, fd, epollEvent.readHangUp, tls);
    this.#relay = relay;
    this.#side = side;
    // Of what the kernel passes on nobody is to be woken.
    loop.change(this, epollEvent.readHangUp);
  }

  override onEvents(events: number): void {
    if ((events & epollEvent.error) !== 0) return void this.#relay.end('reset');
    // Both directions are over: there will be no more events.
    if ((events & (epollEvent.readHangUp | epollEvent.hangUp)) !== 0) this.#relay.onEnded(this.#side);
  }

  override onDeadline(): void {
    this.#relay.look();
  }

  override endDrain(): void {
    this.#relay.endDrain();
  }

  override reset(): void {
    if (this.#relay.isOver) super.reset();
    else this.#relay.end('reset');
  }

  protected override onClosed(): void {
    this.#relay.end('reset');
  }
}
