import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DescriptorChannel, listenForChannels } from '@l4d/kit/ffi/descriptor-channel.ts';
import { closeFd, socketCookie } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { ProxyDesired } from '@l4d/kit/proxy-api.ts';
import { pruneAccounts, settle, sumCounts } from '../../core/accounts.ts';
import { defaultLimits } from '../../core/limits.ts';
import { afterDeath } from '../../core/restart-pause.ts';
import {
  type FromWorker,
  type WorkerCounts,
  workerProtocol,
  workerSocketName,
} from '../../core/worker-messages.ts';
import { createKeptState, type Policy } from './kept-state.ts';
import { limitSegments, newPlace, type Place } from './place.ts';
import { refuseWaiting } from './refuse-waiting.ts';
import { startWorker } from './start-worker.ts';
import { openSteeringMap, type SocketPair } from './steering-map.ts';
import { type Hello, WorkerPeer } from './worker-peer.ts';

/*
 * The supervisor of the workers. It owns places: each has two listening sockets that stay open as long as the
 * place is there, whoever accepts from them. So a worker may die or be replaced, and what waits in the accept
 * queues is its successor's. It serves no connection itself, and may die: workers go on, and bring the next
 * supervisor their sockets and what it must know (WorkerOptions in ../worker/worker.ts).
 */

/** Most that workers of a supervisor before this one are waited for; they look for one ten times a second. */
const adoptionMs = 3000;
/** Without any worker, connections wait for one so long; then they are refused. */
const graceMs = 2000;
/** While one is coming up, which takes its time on a busy machine, they wait on for so long at most. */
const longestGraceMs = 4 * graceMs;
/** How long a worker that goes takes in the connections whose handshake has begun. */
const handshakeMs = 3000;
/** How long answers to a question about counters are waited for. */
const reportMs = 1000;

/** What a supervisor is made of. */
export interface SupervisorOptions {
  readonly runDir: string;
  readonly bpfDir: string;
  /** Which code runs here: workers of another are replaced. */
  readonly build: string;
}

/** What comes with a policy. */
export interface PolicySettings {
  /** Whether a key is that of a declared listener. */
  readonly declared: (key: string) => boolean;
  /** How many workers are wanted, 1 to maxWorkers. */
  readonly count: number;
  /** How long a worker that goes may take to finish its connections. */
  readonly drainMs: number;
}

/** The proxy as the API sees it. */
export interface Supervisor {
  /** Settles with its revision when every worker has the policy. */
  usePolicy(desired: ProxyDesired, settings: PolicySettings): Promise<number>;
  /** The policy in use; undefined: none yet. */
  policy(): Policy | undefined;
  /** Whether the kernel steers connections to living workers. */
  registered(): boolean;
  /** Counts of all workers, those that are gone too. */
  counts(): Promise<WorkerCounts>;
  workers(): readonly WorkerView[];
  wanted(): number;
  /** Workers that died unasked. */
  deaths(): number;
  /** Replaces all workers, one after another; rejects with the reason when a new one does not come up. */
  renew(): Promise<number>;
  /** Ends: no new connections, existing ones finish; settles when all workers are gone. */
  stop(): Promise<void>;
}

/** One worker, as the status tells it. */
export interface WorkerView {
  readonly place: number;
  readonly pid: number;
  readonly startedAt: string;
  readonly state: 'serving' | 'draining';
  readonly counts: WorkerCounts;
}

/** Starts; adopts workers that live already. Throws SyscallError. */
export function startSupervisor(options: SupervisorOptions, log: Logger): Supervisor {
  const socketPath = join(options.runDir, workerSocketName);
  const places = new Map<number, Place>();
  const peers = new Set<WorkerPeer>();
  const steering = openSteeringMap(options.bpfDir, 'l7_sockets', log);
  const datagramSteering = openSteeringMap(options.bpfDir, 'l7_udp_sockets', log);
  let wanted = 1;
  let drainMs = defaultLimits.drainMs;
  const kept = createKeptState((message, descriptors) => {
    for (const peer of peers) peer.send(message, descriptors);
  });
  let grace: NodeJS.Timeout | undefined;
  let renewing: Promise<number> | undefined;
  let stopping = false;
  /** Until all have come, the kernel's map is left as it is: it is right for those that live. */
  let adopting = true;

  const events = { onServing, onReplace, onGone };
  const stopListening = listenForChannels(socketPath, (open) => {
    let peer: WorkerPeer | undefined;
    const channel: DescriptorChannel = open({
      onMessage(text, descriptors) {
        const message = JSON.parse(text) as FromWorker;
        if (peer !== undefined) return void peer.onMessage(message, descriptors);
        if (message.type !== 'hello') return;
        peer = new WorkerPeer(message, channel, events, log);
        peers.add(peer);
        welcome(peer, message, descriptors);
      },
      onClosed: () => peer?.onClosed(),
    });
  });
  // Where the kernel steers to somebody, workers live that have not found us yet.
  const adopted = allAdopted();
  void adopted.then(() => {
    adopting = false;
    steer();
    fillPlaces();
  });

  /** Settles when the worker of every socket that the kernel steers to has come, or has not for too long. */
  async function allAdopted(): Promise<void> {
    const end = performance.now() + adoptionMs;
    const held = steering.held();
    const isMissing = () => {
      const found = new Set([...places.values()].flatMap(({ sockets }) => sockets.map(socketCookie)));
      return [...held].some((cookie) => !found.has(cookie));
    };
    while (performance.now() < end && isMissing()) await sleep(20);
  }

  function welcome(peer: WorkerPeer, hello: Hello, descriptors: readonly number[]): void {
    const place = places.get(hello.place);
    if (place?.starting?.pid === hello.pid) {
      place.starting.arrived();
      if (stopping) return void drain(peer);
      kept.tell(peer);
      serve(peer, place);
      return;
    }
    adopt(peer, hello, descriptors);
  }

  function serve(peer: WorkerPeer, { index, sockets, datagrams }: Place): void {
    peer.send({ type: 'serve', place: index }, sockets);
    peer.send({ type: 'datagrams', place: index }, datagrams);
  }

  /** A worker that served before this supervisor was there. */
  function adopt(peer: WorkerPeer, hello: Hello, descriptors: readonly number[]): void {
    log.info({ worker: hello.pid, place: hello.place, build: hello.build }, 'a worker is adopted');
    const left = [...descriptors];
    for (const name of hello.kept) kept.adopt(name, left.shift() ?? -1, hello.revision);
    const pairs = (indices: readonly number[]) =>
      new Map(indices.map((index) => [index, [left.shift() ?? -1, left.shift() ?? -1] as const]));
    const listening = pairs(hello.serving);
    const reading = pairs(hello.datagrams ?? []);
    const unused = new Set([...listening.values(), ...reading.values()].flat());
    for (const [index, sockets] of listening) {
      if (places.has(index)) continue;
      const datagrams = reading.get(index);
      for (const fd of [...sockets, ...(datagrams ?? [])]) unused.delete(fd);
      const adopted = newPlace(index, sockets, datagrams);
      places.set(index, adopted);
      // A version before there were any reads none of them.
      if (datagrams === undefined) peer.send({ type: 'datagrams', place: index }, adopted.datagrams);
    }
    for (const fd of [...left, ...unused]) closeFd(fd);
    const place = places.get(hello.place);
    const isWelcome = !stopping && !hello.draining && hello.protocol === workerProtocol;
    if (place === undefined || !isWelcome || !hello.serving.includes(hello.place)) return void drain(peer);
    const other = place.worker;
    // Two of one place: the other was about to be replaced when the last supervisor died, or was started for it.
    if (place.starting !== undefined || (other !== undefined && other.hello.startedAt > hello.startedAt))
      return void drain(peer);
    place.worker = peer;
    wanted = Math.max(wanted, place.index + 1);
    if (other !== undefined) drain(other);
    for (const index of hello.serving) {
      const caredFor = places.get(index);
      if (index === hello.place || caredFor === undefined) continue;
      caredFor.caretaker ??= peer;
    }
    kept.tell(peer);
    steer();
  }

  /** As many places as are wanted, each with a worker or one on its way. */
  function fillPlaces(): void {
    if (stopping) return;
    for (const place of [...places.values()]) if (place.index >= wanted) retire(place);
    for (let index = 0; index < wanted; index++) {
      let place = places.get(index);
      if (place === undefined) {
        place = newPlace(index);
        places.set(index, place);
      }
      if (place.worker === undefined && place.starting === undefined && place.pause === undefined)
        start(place);
    }
    const policy = kept.policy?.desired;
    if (policy !== undefined) for (const place of places.values()) limitSegments(place, policy.segmentLimit);
    const old = [...places.values()].some(
      ({ worker }) => worker !== undefined && worker.hello.build !== options.build,
    );
    if (old) renew().catch((error) => log.error({ err: error }, 'workers of another version go on'));
  }

  function start(place: Place): void {
    place.starting = startWorker(options.runDir, place.index, options.build, options.bpfDir, (reason) => {
      log.error({ place: place.index, reason }, 'a worker did not come up');
      startFailed(place, reason);
    });
  }

  function startFailed(place: Place, reason: string): void {
    place.starting = undefined;
    place.onStarted?.(reason);
    if (place.worker === undefined) startAgain(place, 0);
  }

  /** Starts another worker for a place whose worker died. */
  function startAgain(place: Place, lifeMs: number): void {
    if (stopping || places.get(place.index) !== place) return;
    const { deaths, pauseMs } = afterDeath(place.deaths, lifeMs);
    place.deaths = deaths;
    place.pause = setTimeout(() => {
      place.pause = undefined;
      if (!stopping && places.get(place.index) === place && place.starting === undefined) start(place);
    }, pauseMs);
  }

  function onServing(peer: WorkerPeer, index: number): void {
    const place = places.get(index);
    if (place === undefined || stopping) {
      if (peer.hello.place === index) drain(peer);
      return;
    }
    if (place.starting?.pid !== peer.pid) return;
    place.starting = undefined;
    const before = place.worker;
    place.worker = peer;
    if (before !== undefined) drain(before);
    endCare(place);
    for (const other of places.values()) if (other.caretaker === undefined) care(other);
    steer();
    place.onStarted?.(undefined);
    log.info({ place: index, worker: peer.pid }, 'a worker serves');
  }

  function onReplace(peer: WorkerPeer): void {
    const place = places.get(peer.hello.place);
    if (stopping || place?.worker !== peer) return void drain(peer);
    if (place.starting === undefined) start(place);
  }

  function onGone(peer: WorkerPeer): void {
    peers.delete(peer);
    const died = !peer.draining;
    kept.setAccounts(settle(kept.accounts, peer.counts, died));
    if (died) log.error({ worker: peer.pid, place: peer.hello.place }, 'a worker has died');
    for (const place of places.values()) {
      if (place.caretaker !== peer) continue;
      place.caretaker = undefined;
      care(place);
    }
    const place = places.get(peer.hello.place);
    if (place?.starting?.pid === peer.pid) return void startFailed(place, 'it died before it served');
    if (place?.worker !== peer) return;
    place.worker = undefined;
    care(place);
    steer();
    const lifeMs = Date.now() - Date.parse(peer.hello.startedAt);
    if (place.starting === undefined) startAgain(place, lifeMs);
  }

  /** Lets another worker take what waits in a place's queues. */
  function care(place: Place): void {
    if (place.worker !== undefined || stopping) return;
    const [caretaker] = [...places.values()].flatMap(({ worker }) => (worker === undefined ? [] : [worker]));
    if (caretaker === undefined) return;
    place.caretaker = caretaker;
    serve(caretaker, place);
  }

  function endCare(place: Place): void {
    place.caretaker?.send({ type: 'leave', place: place.index });
    place.caretaker = undefined;
  }

  /** A place that is not wanted any more: no new connections, those of its queues and its worker's finish. */
  function retire(place: Place): void {
    places.delete(place.index);
    clearTimeout(place.pause);
    place.starting?.abandon();
    // A renewal does not wait for it.
    place.onStarted?.(undefined);
    const { worker } = place;
    if (worker !== undefined) drain(worker, handshakeMs);
    steer();
    setTimeout(() => {
      endCare(place);
      for (const fd of socketsOf(place)) closeFd(fd);
    }, handshakeMs);
  }

  function drain(peer: WorkerPeer, acceptMs = 0): void {
    peer.draining = true;
    peer.send({ type: 'drain', acceptMs, atMostMs: drainMs });
  }

  function steer(): void {
    if (adopting) return;
    const live = new Map<number, SocketPair>();
    const reading = new Map<number, SocketPair>();
    for (const { index, worker, sockets, datagrams } of places.values()) {
      if (worker === undefined) continue;
      live.set(index, sockets);
      reading.set(index, datagrams);
    }
    if (live.size > 0 || stopping) {
      clearTimeout(grace);
      grace = undefined;
      steering.steer(live);
      datagramSteering.steer(reading);
      return;
    }
    // Nobody serves: what comes waits for a successor, but not for long.
    grace ??= setTimeout(() => onGrace(graceMs), graceMs);
  }

  function isComing(): boolean {
    return [...places.values()].some(({ starting }) => starting !== undefined);
  }

  function onGrace(waitedMs: number): void {
    if (isComing() && waitedMs < longestGraceMs) {
      grace = setTimeout(() => onGrace(waitedMs + graceMs), graceMs);
      return;
    }
    grace = undefined;
    log.error('no worker serves: connections are refused');
    steering.steer(new Map());
    datagramSteering.steer(new Map());
    for (const { sockets } of places.values()) for (const fd of sockets) refuseWaiting(fd);
  }

  function renew(): Promise<number> {
    renewing ??= renewAll().finally(() => {
      renewing = undefined;
    });
    return renewing;
  }

  async function renewAll(): Promise<number> {
    await adopted;
    let count = 0;
    for (const place of [...places.values()]) {
      if (places.get(place.index) !== place || stopping) continue;
      const failure = await new Promise<string | undefined>((resolve) => {
        place.onStarted = resolve;
        if (place.starting === undefined && place.pause === undefined) start(place);
      });
      place.onStarted = undefined;
      if (failure !== undefined)
        throw new Error(`the new worker of place ${place.index} did not come up: ${failure}`);
      count += 1;
    }
    return count;
  }

  /** Settles when there is a worker, or has not been one for too long. */
  async function someoneServes(): Promise<void> {
    const begin = performance.now();
    const isOver = () => performance.now() - begin > (isComing() ? longestGraceMs : graceMs);
    while ([...places.values()].every(({ worker }) => worker === undefined) && !isOver()) await sleep(10);
  }

  return {
    async usePolicy(desired, { declared, count, drainMs: nextDrainMs }) {
      const revision = kept.usePolicy(desired);
      drainMs = nextDrainMs;
      kept.setAccounts(pruneAccounts(kept.accounts, declared));
      for (const peer of peers) peer.pruneCounts(declared);
      await adopted;
      wanted = count;
      fillPlaces();
      await Promise.all([someoneServes(), ...[...peers].map((peer) => peer.takesPolicy(revision))]);
      return revision;
    },
    policy: () => kept.policy,
    registered() {
      const hasUdp = kept.policy?.desired.listeners.some(({ mode }) => mode === 'udp') ?? false;
      return steering.registered() && (!hasUdp || datagramSteering.registered());
    },
    async counts() {
      await Promise.all([...peers].map((peer) => peer.report(reportMs)));
      return sumCounts([kept.accounts.past, ...[...peers].map(({ counts }) => counts)]);
    },
    workers: () =>
      [...peers].sort(byPlace).map(({ hello, draining, counts }) => ({
        place: hello.place,
        pid: hello.pid,
        startedAt: hello.startedAt,
        state: draining ? 'draining' : 'serving',
        counts,
      })),
    wanted: () => wanted,
    deaths: () => kept.accounts.deaths,
    renew,
    async stop() {
      stopping = true;
      for (const { pause, starting } of places.values()) {
        clearTimeout(pause);
        starting?.abandon();
      }
      steer();
      for (const peer of peers) drain(peer);
      for (const place of places.values()) for (const fd of socketsOf(place)) closeFd(fd);
      const end = performance.now() + drainMs + reportMs;
      while (peers.size > 0 && performance.now() < end) await sleep(20);
      for (const peer of peers) peer.kill('it did not finish in time');
      steering.stop();
      datagramSteering.stop();
      kept.stop();
      stopListening();
      rmSync(socketPath, { force: true });
    },
  };
}

function socketsOf({ sockets, datagrams }: Place): readonly number[] {
  return [...sockets, ...datagrams];
}

/** Of one place, the older one first. */
function byPlace({ hello: a }: WorkerPeer, { hello: b }: WorkerPeer): number {
  return a.place - b.place || Date.parse(a.startedAt) - Date.parse(b.startedAt);
}
