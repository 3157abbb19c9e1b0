/**
 * Programs of classic BPF that a socket drops by before anything is queued (Linux: SO_ATTACH_FILTER). What is
 * dropped here costs no wake-up: a flood stays the kernel's work.
 */
import { encodeFilter, type FilterInstruction } from '@l4d/kit/classic-bpf.ts';
import type { IpAddress, IpFamily } from '@l4d/kit/ip-address.ts';

/** What control packets have to be to pass. */
export interface ControlFilter {
  readonly family: IpFamily;
  /** Least TTL or hop limit. */
  readonly minTtl: number;
  /** Values of Your Discriminator. */
  readonly discriminators: readonly number[];
  /** Senders whose packets may have Your Discriminator 0. */
  readonly sources: readonly IpAddress[];
}

/** UDP port of echo packets (RFC 5881 section 4). */
export const echoPort = 3785;

/** The kernel's BPF_MAXINSNS. */
export const maxInstructions = 4096;

const code = {
  loadByte: 0x30,
  loadHalf: 0x28,
  loadWord: 0x20,
  /** Half at X + k. */
  loadHalfIndexed: 0x48,
  /** X = 4 * (byte at k & 0xf). */
  loadHeaderLength: 0xb1,
  shiftRight: 0x74,
  jump: 0x05,
  jumpEqual: 0x15,
  jumpAtLeast: 0x35,
  jumpAnyBit: 0x45,
  return: 0x06,
} as const;

/** SKF_NET_OFF: offsets from here count from the network header. */
const networkHeader = 0xfff0_0000;

/** SKF_AD_OFF + SKF_AD_PKTTYPE: PACKET_HOST (0) is what was sent to this host's link-layer address. */
const packetType = 0xffff_f004;

const udp = 17;
const udpHeaderBytes = 8;
const receivedTtl = 255;

const drop: FilterInstruction = [code.return, 0, 0, 0];
const pass: FilterInstruction = [code.return, 0, 0, 0xffff_ffff];

const load = (k: number, size: number = code.loadByte): FilterInstruction => [size, 0, 0, k];
const dropUnless = (comparison: number, k: number): FilterInstruction[] => [[comparison, 1, 0, k], drop];
const dropIf = (comparison: number, k: number): FilterInstruction[] => [[comparison, 0, 1, k], drop];
const passIf = (k: number): FilterInstruction[] => [[code.jumpEqual, 0, 1, k], pass];

/**
 * Control packets on a UDP socket: the checks of RFC 5880 section 6.8.6 that need no state, the TTL, and whether a
 * session may be meant. Without the lists where they would not fit into a program, and where `whole` is false.
 */
export function controlFilter(wanted: ControlFilter, whole = true): Uint8Array {
  const { family, minTtl, discriminators, sources } = wanted;
  const packet = (offset: number) => udpHeaderBytes + offset;
  const common: FilterInstruction[] = [
    load(networkHeader + (family === 4 ? 8 : 7)),
    ...dropUnless(code.jumpAtLeast, minTtl),
    // UDP Length, with the least packet of 24 octets.
    load(4, code.loadHalf),
    ...dropUnless(code.jumpAtLeast, udpHeaderBytes + 24),
    load(packet(0)),
    [code.shiftRight, 0, 0, 5],
    ...dropUnless(code.jumpEqual, 1),
    load(packet(1)),
    ...dropIf(code.jumpAnyBit, 1),
    load(packet(2)),
    ...dropIf(code.jumpEqual, 0),
    load(packet(3)),
    ...dropUnless(code.jumpAtLeast, 24),
    load(packet(4), code.loadWord),
    ...dropIf(code.jumpEqual, 0),
  ];
  const known = [...discriminators.flatMap(passIf), drop];
  const unknown = [
    // Init and Up have the upper bit of the state; with Your Discriminator 0 they are refused.
    load(packet(1)),
    ...dropIf(code.jumpAnyBit, 0x80),
    ...addressList(networkHeader + (family === 4 ? 12 : 8), sources),
    drop,
  ];
  const program: FilterInstruction[] = [
    ...common,
    load(packet(8), code.loadWord),
    [code.jumpEqual, 0, 1, 0],
    [code.jump, 0, 0, known.length],
    ...known,
    ...unknown,
  ];
  return encodeFilter(whole && program.length <= maxInstructions ? program : [...common, pass]);
}

/**
 * Echo packets on a packet socket whose data starts at the network header: whole, with a TTL of 255, to our
 * link-layer address, from or back to one of the peers.
 */
export function echoFilter(family: IpFamily, peers: readonly IpAddress[]): Uint8Array {
  const head = [load(packetType, code.loadWord), ...dropUnless(code.jumpEqual, 0)];
  const ipv4 = [
    load(9),
    ...dropUnless(code.jumpEqual, udp),
    // No fragment: neither "more" nor an offset.
    load(6, code.loadHalf),
    ...dropIf(code.jumpAnyBit, 0x3fff),
    load(8),
    ...dropUnless(code.jumpEqual, receivedTtl),
    load(0, code.loadHeaderLength),
    load(2, code.loadHalfIndexed),
    ...dropUnless(code.jumpEqual, echoPort),
  ];
  const ipv6 = [
    load(6),
    ...dropUnless(code.jumpEqual, udp),
    load(7),
    ...dropUnless(code.jumpEqual, receivedTtl),
    load(42, code.loadHalf),
    ...dropUnless(code.jumpEqual, echoPort),
  ];
  const [own, source, destination] = family === 4 ? [ipv4, 12, 16] : [ipv6, 8, 24];
  const program = [...head, ...own, ...addressList(destination, peers), ...addressList(source, peers), drop];
  return encodeFilter(program.length <= maxInstructions ? program : [...head, ...own, pass]);
}

/** Nothing passes. */
export const nothingFilter: Uint8Array = encodeFilter([drop]);

/** Passes when the address at an offset is in the list; else goes on behind. */
function addressList(offset: number, addresses: readonly IpAddress[]): FilterInstruction[] {
  return addresses.flatMap(({ bytes }) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const words = bytes.length / 4;
    return [
      ...Array.from({ length: words }, (_, word): FilterInstruction[] => [
        load(offset + 4 * word, code.loadWord),
        // To the next address: behind the words that are left and the return.
        [code.jumpEqual, 0, 2 * (words - 1 - word) + 1, view.getUint32(4 * word)],
      ]).flat(),
      pass,
    ];
  });
}
