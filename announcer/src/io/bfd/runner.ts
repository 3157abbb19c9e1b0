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
import type { BfdRecord, BfdSessionSnapshot } from '../../core/handover/bfd-snapshot.ts';
import { parseScopedAddress, type ScopedAddress } from '../../core/peer-address.ts';
import { type BfdSender, bfdPort, createSender, openSender } from './sockets.ts';

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
  /**
   * How long nothing may be sent without the other side missing a packet, in milliseconds; undefined when it misses
   * none.
   */
  graceMs(): number | undefined;
  /** Lets go of it for a successor: nothing happens any more. Its socket is given to `take`, which says where it is. */
  freeze(take: (descriptor: number) => number): BfdSessionSnapshot;
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

/** Who is new: `discriminator` is unique and not 0, `sequence` a random 32-bit number. */
export interface NewSession {
  readonly config: BfdSessionConfig;
  readonly discriminator: number;
  readonly sequence: number;
}

/** Who was frozen `elapsedMs` ago, with the socket that was its own. */
export interface FrozenSession {
  readonly from: BfdSessionSnapshot;
  readonly descriptor: number | undefined;
  readonly elapsedMs: number;
}

/** Makes a session that is silent until started; one that was frozen goes on where it was. */
export function createBfdRunner(who: NewSession | FrozenSession, environment: RunnerEnvironment): BfdRunner {
  const { clock } = environment;
  const frozen = 'from' in who ? who : undefined;
  const initial = 'from' in who ? who.from.config : who.config;
  const timers = new Map<BfdTimer, { timer: Timer; dueAt: number; deadline: number }>();
  const record: BfdRecord = frozen?.from.record ?? {
    verdict: 'down',
    flaps: 0,
    transitions: 0,
    packetsSent: 0,
    packetsReceived: 0,
    echoesReturned: 0,
    dropped: {},
    sendErrors: {},
  };
  const { dropped, sendErrors } = record;
  const address = scopedAddress(initial.peer);
  const trail = createBfdTrail(
    environment.wallClock,
    portOf(initial),
    (entries) => environment.onTrail(config.peer, entries),
    frozen?.from.trail,
  );
  let config = initial;
  let state: BfdState =
    'from' in who
      ? stateOf(who.from, clock.now() - who.elapsedMs)
      : initialBfdState(bfdSettings(initial), who.discriminator, who.sequence);
  const discriminator = state.localDiscriminator;
  let sender: BfdSender | undefined;
  let problem: string | undefined;
  let closed = false;
  let wrongTtl: number | undefined;
  let lateness = { worst: 0, previous: 0, since: clock.now() };

  function dispatch(event: BareEvent): void {
    const before = state.session;
    const diagnosticBefore = state.diagnostic;
    const complete = { ...event, now: clock.now(), jitter: environment.random() } as BfdEvent;
    const result = stepBfd(state, complete, environment.digest);
    state = result.state;
    for (const effect of result.effects) perform(effect);
    const verdict = bfdVerdict(state, record.verdict);
    if (verdict === record.verdict) return;
    record.verdict = verdict;
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
          record.packetsSent += 1;
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
        record.transitions += 1;
        trail.changed(effect.from, effect.to, diagnosticName(state.diagnostic));
        record.changedAt = environment.wallClock();
        if (effect.from === 'Up') record.flaps += 1;
        if (effect.to === 'Up') record.upSince = record.changedAt;
        else delete record.upSince;
        environment.onChange();
        return;
      case 'drop':
        record.packetsReceived -= 1;
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

  /** Its timers run on: what has come due in the meantime is due now. */
  function goOn(): void {
    if (frozen === undefined) return;
    const { from, descriptor, elapsedMs } = frozen;
    if (from.sender === undefined || descriptor === undefined) {
      openPath();
      return;
    }
    sender = createSender(address, portOf(config), { descriptor, sourcePort: from.sender.sourcePort });
    for (const { name, remainingMs } of from.timers) setTimer(name, Math.max(0, remainingMs - elapsedMs));
  }

  return {
    get config() {
      return config;
    },
    discriminator,
    address,
    isUp: () => state.session === 'Up',
    countEcho() {
      record.echoesReturned += 1;
    },
    start: frozen === undefined ? openPath : goOn,
    receive(packet, bytes) {
      wrongTtl = undefined;
      record.packetsReceived += 1;
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
    graceMs() {
      if (state.session !== 'Up') return undefined;
      return ((config.multiplier - 1) * transmitInterval(state)) / 1000;
    },
    freeze(take) {
      closed = true;
      const { settings, sentAt, receivedSequence, sentContent, armedInterval, ...machine } = state;
      const now = clock.now();
      const running = Array.from(timers, ([name, { deadline }]) => ({ name, remainingMs: deadline - now }));
      for (const { timer } of timers.values()) timer.cancel();
      timers.clear();
      const held = sender;
      sender = undefined;
      return {
        config,
        machine: {
          ...machine,
          ...(sentAt === undefined ? {} : { sentAgeMs: now - sentAt }),
          ...(receivedSequence === undefined ? {} : { receivedSequence }),
          ...(sentContent === undefined ? {} : { sentContent }),
          ...(armedInterval === undefined ? {} : { armedInterval }),
        },
        timers: running,
        record,
        trail: trail.freeze(),
        ...(held === undefined
          ? {}
          : { sender: { descriptor: take(held.descriptor), sourcePort: held.sourcePort } }),
      };
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
      ...describeRecord(record),
      multihop: config.multihop,
      minTtl: config.minTtl,
      sourcePort: sender?.sourcePort ?? 0,
      timerLatenessMs: Math.round(Math.max(lateness.worst, lateness.previous) * 10) / 10,
      ...describeProblem(),
    }),
  };
}

/** The state of a machine that was frozen at `frozenAt`. */
function stateOf({ config, machine }: BfdSessionSnapshot, frozenAt: number): BfdState {
  const { sentAgeMs, receivedSequence, sentContent, armedInterval, ...rest } = machine;
  return {
    ...rest,
    settings: bfdSettings(config),
    sentAt: sentAgeMs === undefined ? undefined : frozenAt - sentAgeMs,
    receivedSequence,
    sentContent,
    armedInterval,
  };
}

/** What is shown of a record: a copy, which stays as it is. */
function describeRecord({ verdict, ...shown }: BfdRecord) {
  return { ...shown, dropped: { ...shown.dropped }, sendErrors: { ...shown.sendErrors } };
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
