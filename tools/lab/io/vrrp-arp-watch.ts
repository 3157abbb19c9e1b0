/**
 * Runs on a machine of the VRRP lab: asks for an IPv4 address every few milliseconds, each time as another client, and
 * prints what was answered as a line of JSON when its standard input ends. Arguments: address, interval in milliseconds.
 */
import { interfaceIndex, receive } from '@l4d/kit/ffi/libc.ts';
import { filterCode, openPacketReceiver, openPacketSender, sendFrame } from '@l4d/kit/ffi/packet-socket.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';

/** What was seen of one address. */
export interface ArpSightings {
  /** MAC addresses that answered one question, by the question; those of one answer are left out. */
  readonly doubles: readonly (readonly string[])[];
  /** Changes of the answering MAC address: when (Unix milliseconds) and to which. */
  readonly owners: readonly { readonly atMs: number; readonly mac: string }[];
  /** Gratuitous ARP, by the MAC address it came from: when each came. */
  readonly gratuitous: Readonly<Record<string, readonly number[]>>;
  readonly questions: number;
  readonly answers: number;
}

const [, , target = '', interval = '5'] = process.argv;
const index = interfaceIndex('eth0');
const mac = Uint8Array.of(0x02, 0, 0, 0, 0x79, 0x65);
const sender = openPacketSender(index);
const fd = openPacketReceiver(index, 0x0806, [[filterCode.accept, 0, 0, 256]]);
const wanted = ipAddress(target).bytes;
const answersOf = new Map<number, Set<string>>();
const doubles: string[][] = [];
const owners: { atMs: number; mac: string }[] = [];
const gratuitous: Record<string, number[]> = {};
let questions = 0;
let answers = 0;

setInterval(() => {
  questions += 1;
  const frame = new Uint8Array(42);
  frame.fill(0xff, 0, 6);
  frame.set(mac, 6);
  frame.set([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  frame.set(mac, 22);
  // 172.16.0.0/12 is nobody's here: the answers alone carry it.
  frame.set([172, 16 + ((questions >> 16) & 15), (questions >> 8) & 255, questions & 255], 28);
  frame.set(wanted, 38);
  sendFrame(sender, index, frame);
}, Number(interval));

const buffer = new Uint8Array(256);
watchSocket(fd, 'readable', () => {
  while (receive(fd, buffer) !== undefined) {
    if (!wanted.every((byte, at) => buffer[28 + at] === byte)) continue;
    const from = formatMacAddress(buffer.subarray(22, 28));
    const isQuestion = buffer[21] === 1;
    if (isQuestion && wanted.every((byte, at) => buffer[38 + at] === byte)) {
      gratuitous[from] = [...(gratuitous[from] ?? []), Date.now()];
    }
    if (isQuestion || buffer[38] !== 172) continue;
    answers += 1;
    const question = (((buffer[39] ?? 0) & 15) << 16) | ((buffer[40] ?? 0) << 8) | (buffer[41] ?? 0);
    const known = answersOf.get(question) ?? new Set();
    answersOf.set(question, known.add(from));
    if (known.size > 1) doubles.push([...known]);
    if (owners.at(-1)?.mac !== from) owners.push({ atMs: Date.now(), mac: from });
  }
});

process.stdin.resume();
process.stdin.on('end', () => {
  const seen: ArpSightings = { doubles, owners, gratuitous, questions, answers };
  process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
});
