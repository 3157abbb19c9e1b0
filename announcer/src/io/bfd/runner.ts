import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import type { Digest } from '../../core/bfd/authentication.ts';
import { type BfdPacket, diagnosticName } from '../../core/bfd/packet.ts';
import { initialBfdState, stepBfd } from '../../core/bfd/session.ts';
import {
  type BfdSessionConfig,
  type BfdStatus,
  type BfdVerdict,
  bfdSettings,
  bfdVerdict,
  describeState,
} from '../../core/bfd/session-config.ts';
import type { BfdEffect, BfdEvent, BfdState, BfdTimer } from '../../core/bfd/session-types.ts';
import { detectionTime, transmitInterval } from '../../core/bfd/timing.ts';
import { type BfdTrailEntry, createBfdTrail } from '../../core/bfd/trail.ts';
import { parseScopedAddress, type ScopedAddress } from '../../core/peer-address.ts';
import { type BfdSender, bfdPort, openSender } from './sockets.ts';

/** What a session's runner needs from its surroundings. */
export interface RunnerEnvironment {
  readonly clock: Clock;
  readonly digest: Digest;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Unix time in milliseconds. */
  readonly wallClock: () => number;
  /** Takes in all that has arrived, before silence is believed. */
  readonly drain: () => void;
  /** Some session has changed its state. */
  readonly onChange: () => void;
  readonly onVerdict: (peer: string, verdict: BfdVerdict, why: string) => void;
  /** Told what goes into the flight record. */
  readonly onTrail: (peer: string, entries: readonly BfdTrailEntry[]) => void;
}

/** One running session: performs the machine's effects and feeds it events. */
export interface BfdRunner {
  readonly config: BfdSessionConfig;
  readonly discriminator: number;
  readonly address: ScopedAddress;
  /** Whether it is Up. */
  isUp(): boolean;
  /** An echo packet of the other side went back. */
  countEcho(): void;
  start(): void;
  receive(packet: BfdPacket, bytes: Uint8Array): void;
  countDrop(reason: string): void;
  /** A packet whose TTL or hop limit is below the least. */
  dropTtl(ttl: number): void;
  /** Changes what can be changed while it runs. */
  reconfigure(config: BfdSessionConfig): void;
  /** AdminDown; returns how long it should be said, in milliseconds. */
  disable(): number;
  close(): void;
  status(): BfdStatus;
}

type BareEvent = BfdEvent extends infer Event
  ? Event extends BfdEvent
    ? Omit<Event, 'now' | 'jitter'>
    : never
  : never;

/** A source address that is not there yet, or no free port: tried again. */
const retryTime = Seconds(1);

/** Over how long the largest lateness is shown. */
const latenessWindowMs = 60_000;

/** Makes a session that is silent until started. */
export function createBfdRunner(
  initial: BfdSessionConfig,
  discriminator: number,
  sequence: number,
  environment: RunnerEnvironment,
): BfdRunner {
  const { clock } = environment;
  const timers = new Map<BfdTimer, { timer: Timer; dueAt: number; deadline: number }>();
  const dropped: Record<string, number> = {};
  const sendErrors: Record<string, number> = {};
  const address = scopedAddress(initial.peer);
  const trail = createBfdTrail(environment.wallClock, portOf(initial), (entries) =>
    environment.onTrail(config.peer, entries),
  );
  let config = initial;
  let state: BfdState = initialBfdState(bfdSettings(initial), discriminator, sequence);
  let sender: BfdSender | undefined;
  let problem: string | undefined;
  let closed = false;
  let verdict: BfdVerdict = 'down';
  let upSince: number | undefined;
  let changedAt: number | undefined;
  let flaps = 0;
  let transitions = 0;
  let echoesReturned = 0;
  let wrongTtl: number | undefined;
  let packetsSent = 0;
  let packetsReceived = 0;
  let lateness = { worst: 0, previous: 0, since: clock.now() };

  function dispatch(event: BareEvent): void {
    const before = state.session;
    const diagnosticBefore = state.diagnostic;
    const complete = { ...event, now: clock.now(), jitter: environment.random() } as BfdEvent;
    const result = stepBfd(state, complete, environment.digest);
    state = result.state;
    for (const effect of result.effects) perform(effect);
    const reached = bfdVerdict(state, verdict);
    if (reached === verdict) return;
    verdict = reached;
    const changed = state.session !== before || state.diagnostic !== diagnosticBefore;
    const why = changed ? diagnosticName(state.diagnostic) : `the neighbour is ${state.remote.session}`;
    environment.onVerdict(config.peer, verdict, why);
  }

  function perform(effect: BfdEffect): void {
    switch (effect.kind) {
      case 'send': {
        const error = sender?.send(effect.bytes);
        if (sender === undefined) return;
        if (error === undefined) {
          packetsSent += 1;
          trail.packet('sent', effect.bytes);
        } else count(sendErrors, error);
        return;
      }
      case 'set-timer':
        setTimer(effect.timer, effect.delayMs);
        return;
      case 'clear-timer':
        timers.get(effect.timer)?.timer.cancel();
        timers.delete(effect.timer);
        return;
      case 'changed':
        transitions += 1;
        trail.changed(effect.from, effect.to, diagnosticName(state.diagnostic));
        changedAt = environment.wallClock();
        if (effect.from === 'Up') flaps += 1;
        upSince = effect.to === 'Up' ? changedAt : undefined;
        environment.onChange();
        return;
      case 'drop':
        packetsReceived -= 1;
        count(dropped, effect.reason);
        return;
    }
  }

  /** A deadline that only moves away leaves the running timer as it is: one is enough for many packets. */
  function setTimer(name: BfdTimer, delayMs: number): void {
    const deadline = clock.now() + delayMs;
    const running = timers.get(name);
    if (running !== undefined && running.dueAt <= deadline) {
      running.deadline = deadline;
      return;
    }
    running?.timer.cancel();
    arm(name, deadline);
  }

  function arm(name: BfdTimer, deadline: number): void {
    // Rounded up: timers count whole milliseconds, and packets must not be more frequent than agreed.
    const delay = Math.max(0, Math.ceil(deadline - clock.now()));
    const dueAt = clock.now() + delay;
    timers.set(name, { timer: clock.after(Milliseconds(delay), () => onTimer(name)), dueAt, deadline });
  }

  function onTimer(name: BfdTimer): void {
    const entry = timers.get(name);
    if (entry === undefined) return;
    observeLateness(clock.now() - entry.dueAt);
    // After this thread stood still, packets wait in the socket that would have moved the deadline.
    if (name === 'detection' && clock.now() >= entry.deadline) environment.drain();
    if (timers.get(name) !== entry) return;
    timers.delete(name);
    // Timers may be a fraction of a millisecond early.
    if (entry.deadline - clock.now() > 0.5) arm(name, entry.deadline);
    else dispatch({ kind: 'timer', timer: name });
  }

  function observeLateness(late: number): void {
    const now = clock.now();
    if (now - lateness.since > latenessWindowMs)
      lateness = { worst: 0, previous: lateness.worst, since: now };
    lateness.worst = Math.max(lateness.worst, late);
  }

  /** Why there is no session; that packets of the other side come from too far is told until one is taken. */
  function describeProblem(): { readonly problem?: string } {
    if (problem !== undefined) return { problem };
    if (wrongTtl === undefined || state.session === 'Up') return {};
    return {
      problem: `its packets arrive with a TTL of ${wrongTtl}, and ${config.minTtl} is the least (minTtl)`,
    };
  }

  function openPath(): void {
    if (closed) return;
    const local = config.localAddress === undefined ? undefined : scopedAddress(config.localAddress).address;
    const port = portOf(config);
    try {
      sender = openSender(address, port, local, environment.random);
      problem = undefined;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      problem = `cannot send from ${config.localAddress ?? 'this host'}: ${error.code}`;
      clock.after(retryTime, openPath);
      return;
    }
    dispatch({ kind: 'enable' });
  }

  return {
    get config() {
      return config;
    },
    discriminator,
    address,
    isUp: () => state.session === 'Up',
    countEcho() {
      echoesReturned += 1;
    },
    start: openPath,
    receive(packet, bytes) {
      wrongTtl = undefined;
      packetsReceived += 1;
      trail.packet('received', bytes);
      dispatch({ kind: 'packet', packet, bytes });
    },
    countDrop: (reason) => count(dropped, reason),
    dropTtl(ttl) {
      wrongTtl = ttl;
      count(dropped, 'wrong-ttl');
    },
    reconfigure(changed) {
      config = changed;
      dispatch({ kind: 'reconfigure', settings: bfdSettings(changed) });
    },
    disable() {
      const lingerMs = Math.max(transmitInterval(state), detectionTime(state) ?? 0) / 1000;
      dispatch({ kind: 'disable' });
      return Math.min(lingerMs, 10_000);
    },
    close() {
      closed = true;
      for (const { timer } of timers.values()) timer.cancel();
      timers.clear();
      sender?.close();
      sender = undefined;
    },
    status: () => ({
      ...describeState(state),
      ...(upSince === undefined ? {} : { upSince }),
      ...(changedAt === undefined ? {} : { changedAt }),
      multihop: config.multihop,
      minTtl: config.minTtl,
      flaps,
      transitions,
      packetsSent,
      packetsReceived,
      echoesReturned,
      sourcePort: sender?.sourcePort ?? 0,
      dropped: { ...dropped },
      sendErrors: { ...sendErrors },
      timerLatenessMs: Math.round(Math.max(lateness.worst, lateness.previous) * 10) / 10,
      ...describeProblem(),
    }),
  };
}

function scopedAddress(text: string): ScopedAddress {
  const parsed = parseScopedAddress(text);
  if (!parsed.ok) throw new TypeError(parsed.error);
  return parsed.value;
}

/** UDP port that packets of a session go to. */
function portOf({ multihop }: BfdSessionConfig): number {
  return multihop ? bfdPort.multihop : bfdPort.singleHop;
}

function count(counters: Record<string, number>, name: string): void {
  counters[name] = (counters[name] ?? 0) + 1;
}
