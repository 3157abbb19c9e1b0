import { createHash } from 'node:crypto';
import { systemClock } from '@l4d/kit/clock.ts';
import { memoryFile, readWhole } from '@l4d/kit/ffi/descriptors.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import type { AuthType } from '../../core/bfd/authentication.ts';
import { decodePacket } from '../../core/bfd/packet.ts';
import { initialBfdState, stepBfd } from '../../core/bfd/session.ts';
import { type BfdSessionConfig, bfdSettings } from '../../core/bfd/session-config.ts';
import type { BfdEvent } from '../../core/bfd/session-types.ts';
import { decodeBfdSnapshot, encodeBfdSnapshot } from '../../core/handover/bfd-snapshot.ts';
import { createBfdEngine } from './engine.ts';
import { createBfdRunner } from './runner.ts';
import { bfdPort, openReceivingSocket, openSender } from './sockets.ts';

/** Rounds of two state machines with one another, and of handing a session over: enough for all to be compiled. */
const rounds = { packets: 100, handovers: 3 };

const config: BfdSessionConfig = {
  peer: '127.0.0.1',
  multihop: false,
  minTtl: 255,
  txIntervalMs: 1000,
  rxIntervalMs: 1000,
  multiplier: 3,
  echo: false,
  outliveMs: 0,
};

const digest = (algorithm: 'md5' | 'sha1', data: Uint8Array) => createHash(algorithm).update(data).digest();

/**
 * Does with sessions of its own what a successor will do, so that the time in which no session is served is not that
 * of the compiler. Nothing is sent to anybody. Throws SyscallError.
 */
export function warmUpBfd(): void {
  for (const type of [undefined, 'keyed-md5', 'meticulous-keyed-sha1'] as const) talk(type);
  for (let round = 0; round < rounds.handovers; round++) handOver();
}

function talk(type: AuthType | undefined): void {
  const auth = type === undefined ? {} : { auth: { type, keyId: 1, key: 'nobody' } };
  const settings = bfdSettings({ ...config, ...auth });
  let [one, other] = [initialBfdState(settings, 1, 1), initialBfdState(settings, 2, 1)];
  const events = (now: number, bytes: readonly Uint8Array[]): BfdEvent[] => [
    { kind: 'enable', now, jitter: 0 },
    ...bytes.flatMap((packet): BfdEvent[] => {
      const decoded = decodePacket(packet);
      return decoded.ok ? [{ kind: 'packet', packet: decoded.value, bytes: packet, now, jitter: 0 }] : [];
    }),
    { kind: 'timer', timer: 'transmit', now, jitter: 0 },
  ];
  let sent: Uint8Array[] = [];
  for (let now = 0; now < rounds.packets; now++) {
    const said: Uint8Array[] = [];
    for (const event of events(now, sent)) {
      const { state, effects } = stepBfd(one, event, digest);
      one = state;
      for (const effect of effects) if (effect.kind === 'send') said.push(effect.bytes);
    }
    sent = said;
    [one, other] = [other, one];
  }
}

/** The sockets are real, the session has no reason to send. */
function handOver(): void {
  const environment = {
    wallClock: Date.now,
    random: Math.random,
    clock: systemClock,
    onVerdict: () => {},
  };
  const quiet = { digest, drain: () => {}, onChange: () => {}, onTrail: () => {} };
  const idle = createBfdRunner({ config, discriminator: 1, sequence: 1 }, { ...environment, ...quiet });
  const sender = openSender({ address: ipAddress(config.peer) }, bfdPort.singleHop, undefined, Math.random);
  const descriptors = [sender.descriptor, openReceivingSocket(4, 0)];
  const session = {
    ...idle.freeze(() => 0),
    timers: [{ name: 'transmit' as const, remainingMs: 10_000 }],
    sender: { descriptor: 0, sourcePort: sender.sourcePort },
  };
  const engine = createBfdEngine(environment);
  const receivers = [{ key: '4 singleHop', descriptor: 1, flood: false }];
  engine.resume(
    { sessions: [session], leaving: [], receivers, unassigned: {}, reflectors: [] },
    descriptors,
    0,
  );
  const left: number[] = [];
  const frozen = engine.freeze((descriptor) => left.push(descriptor) - 1);
  const link = { descriptor: 0, unread: '', unsent: '' };
  const text = encodeBfdSnapshot({ handovers: 0, link, verdicts: [], engine: frozen });
  const memory = memoryFile('l4d-warm-up', new TextEncoder().encode(text));
  decodeBfdSnapshot(new TextDecoder().decode(readWhole(memory)), left.length);
  for (const descriptor of [memory, ...left]) closeFd(descriptor);
}
