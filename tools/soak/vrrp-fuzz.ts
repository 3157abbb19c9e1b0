import { compareAddressLists } from '@l4d/announcer/core/vrrp/address-list.ts';
import {
  type ChecksumKind,
  foldChecksum,
  sumPseudoHeader,
  sumWords,
  vrrpChecksum,
} from '@l4d/announcer/core/vrrp/checksum.ts';
import { decodeQuestion, encodeAnswer } from '@l4d/announcer/core/vrrp/neighbour-message.ts';
import {
  type Advertisement,
  decodeAdvertisement,
  encodeAdvertisement,
  vrrpGroup,
  vrrpTtl,
} from '@l4d/announcer/core/vrrp/packet.ts';
import { initialVrrpState, ownsAt, stepVrrp } from '@l4d/announcer/core/vrrp/state-machine.ts';
import type { VrrpSettings, VrrpState } from '@l4d/announcer/core/vrrp/state-types.ts';
import { formatIpAddress, ipAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import { chanceFrom } from './core/mutate.ts';
import { mutatePacket } from './core/mutate-packet.ts';
import type { SoakOptions } from './soak.ts';

const sources = [ipAddress('10.0.0.9'), ipAddress('fe80::9')] as const;
const kinds = ['rfc9568', 'rfc5798'] as const satisfies readonly ChecksumKind[];
const virtual = [ipAddress('10.0.0.50'), ipAddress('fd00::50')] as const;
const own = new Set(virtual.map(formatIpAddress));
const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);

const settings = (source: VrrpSettings['source']): VrrpSettings => ({
  priority: 100,
  intervalMs: 100,
  preempt: true,
  preemptDelayMs: 0,
  claimDelayMs: 3,
  announceRounds: 5,
  announceIntervalMs: 200,
  announceRefreshMs: 60_000,
  source,
});

/**
 * Feeds mutated advertisements of both families and checksums, ARP requests and neighbour solicitations to the decoders,
 * and what is accepted to a virtual router whose timers run meanwhile. Throws when one raises an exception, when an
 * accepted advertisement does not re-encode to itself, or when a step leads to more than a handful of effects.
 */
export async function run({ count = 1_000_000, seed, say }: SoakOptions): Promise<string> {
  const chance = chanceFrom(seed);
  const adverts = ([0, 1] as const).map((family) => advertisementsOf(family));
  const frames = questions();
  const states: VrrpState[] = sources.map((source) => started(settings(source)));
  const outcomes: Record<string, number> = { accepted: 0, question: 0 };
  const tally = (name: string) => {
    outcomes[name] = (outcomes[name] ?? 0) + 1;
  };
  for (let done = 0; done < count; done++) {
    const family = chance(2) as 0 | 1;
    const isFrame = chance(4) === 0;
    const corpus = isFrame ? frames : (adverts[family] ?? []);
    const bytes = mutatePacket(corpus[chance(corpus.length)] ?? new Uint8Array(8), corpus, chance);
    // What was mutated has a wrong count and sum: most get right ones, so that what is behind them is reached.
    if (!isFrame && bytes.length >= 8) {
      if (chance(8) !== 0) bytes[3] = (bytes.length - 8) >> (family === 0 ? 2 : 4);
      if (chance(4) !== 0) sign(bytes, family, chance(2) as 0 | 1);
    }
    try {
      if (isFrame) {
        const question = decodeQuestion(bytes);
        if (question !== undefined) encodeAnswer(question, mac, chance(2) === 0);
        tally(question === undefined ? 'no question' : 'question');
      } else {
        const state = states[family] as VrrpState;
        const judged = judge(bytes, family, state, done / 10);
        states[family] = judged.state;
        tally(judged.outcome);
      }
    } catch (error) {
      const hex = Buffer.from(bytes).toString('hex');
      throw new Error(`packet ${done} of seed ${seed}: ${(error as Error).message}: ${hex}`);
    }
    if ((done + 1) % 250_000 === 0) say(`${done + 1} packets`);
  }
  const described = Object.entries(outcomes)
    .sort(([, a], [, b]) => b - a)
    .map(([name, times]) => `${times} ${name}`);
  return `${count} packets: ${described.join(', ')}`;
}

function judge(bytes: Uint8Array, family: 0 | 1, before: VrrpState, now: number) {
  const source = sources[family];
  const destination = vrrpGroup[source.family];
  const decoded = decodeAdvertisement(bytes, { source, destination, ttl: vrrpTtl });
  if (!decoded.ok) return { state: before, outcome: decoded.error };
  requireSame(bytes, decoded.value, family);
  compareAddressLists(own, false, decoded.value.addresses);
  const { priority, intervalCs } = decoded.value;
  const event = { kind: 'advertisement', now, source, priority, intervalMs: intervalCs * 10 } as const;
  const step = stepVrrp(before, event);
  if (step.effects.length > 8) throw new Error(`${step.effects.length} effects`);
  ownsAt(step.state, now);
  // A backup router must not stay one, or only half of the machine is seen.
  return { state: step.state.phase === 'Active' ? step.state : active(step.state, now), outcome: 'accepted' };
}

/** Reserved bits and the checksum's kind apart, an accepted advertisement is what we would send. */
function requireSame(bytes: Uint8Array, advertisement: Advertisement, family: 0 | 1): void {
  const same = kinds.some((kind) => {
    const again = encodeAdvertisement(advertisement, sources[family], kind);
    return again.every((byte, at) => byte === bytes[at] || at === 4 || at === 6 || at === 7);
  });
  if (!same) throw new Error('does not re-encode to itself');
}

function started(of: VrrpSettings): VrrpState {
  return active(stepVrrp(initialVrrpState(of), { kind: 'startup', now: 0 }).state, 0);
}

function active(state: VrrpState, now: number): VrrpState {
  const claimed = stepVrrp(state, { kind: 'timer', timer: 'active-down', now }).state;
  return stepVrrp(claimed, { kind: 'timer', timer: 'claim', now }).state;
}

function sign(bytes: Uint8Array, family: 0 | 1, kind: 0 | 1): void {
  bytes.fill(0, 6, 8);
  const source = sources[family];
  const sum = vrrpChecksum(bytes, source, vrrpGroup[source.family], kinds[kind]);
  bytes.set([sum >> 8, sum & 0xff], 6);
}

function advertisementsOf(family: 0 | 1): Uint8Array[] {
  const address = virtual[family];
  return kinds.flatMap((kind) =>
    [1, 2, 100].flatMap((length) =>
      [0, 1, 100, 255].map((priority) => {
        const addresses = Array.from({ length }, () => address);
        return encodeAdvertisement({ vrid: 51, priority, intervalCs: 10, addresses }, sources[family], kind);
      }),
    ),
  );
}

/** An ARP request and a neighbour solicitation, as a client sends them. */
function questions(): Uint8Array[] {
  const hex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
  const both = [
    hex(
      'ffffffffffff 020000000079 0806 0001 0800 06 04 0001 020000000079 0a000064 000000000000 0a000032 000000000000',
    ),
    hex(
      '3333ff000050 020000000079 86dd 60000000 0020 3a ff fe800000000000000000000000000009 ff0200000000000000000001ff000050 87 00 0000 00000000 fd000000000000000000000000000050 01 01 020000000079',
    ),
  ];
  const [, solicitation = new Uint8Array(0)] = both;
  const [client, group] = [22, 38].map((at) => ipAddressFromBytes(solicitation.slice(at, at + 16)));
  if (client === undefined || group === undefined) throw new Error('no solicitation');
  const message = solicitation.subarray(54);
  const sum = foldChecksum(sumWords(message, sumPseudoHeader(client, group, 58, message.length)));
  solicitation.set([sum >> 8, sum & 0xff], 56);
  if (both.some((frame) => decodeQuestion(frame) === undefined)) throw new Error('not a question');
  return both;
}
