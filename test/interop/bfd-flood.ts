/**
 * Floods a BFD port: `node bfd-flood.ts ADDRESS PACKETS_PER_SECOND SECONDS`. In turns a packet that has passed a
 * router, one with a discriminator that nobody has, one too short, and one of another version. Prints how many.
 */
import { encodePacket } from '@l4d/announcer/core/bfd/packet.ts';
import { constant, sendTo, setSocketOptionInt, socket } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';

const [, , target = '', rate = '', seconds = ''] = process.argv;
const perSecond = Number(rate);
const until = performance.now() + Number(seconds) * 1000;

const open = (ttl: number) => {
  const fd = socket(constant.AF_INET, constant.SOCK_DGRAM | constant.SOCK_CLOEXEC);
  setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TTL, ttl);
  return fd;
};
const near = open(255);
const far = open(254);
const packet = encodePacket({
  diagnostic: 0,
  state: 'Up',
  poll: true,
  final: false,
  controlPlaneIndependent: false,
  demand: false,
  multiplier: 3,
  myDiscriminator: 7,
  yourDiscriminator: 99,
  desiredMinTx: 50_000,
  requiredMinRx: 50_000,
  requiredMinEchoRx: 0,
});
const otherVersion = Uint8Array.from(packet);
otherVersion[0] = 0x40;
const kinds = [
  [far, packet],
  [near, packet],
  [near, packet.subarray(0, 12)],
  [near, otherVersion],
] as const;

const address = encodeSockaddr(ipAddress(target), 3784);
const start = performance.now();
let sent = 0;
while (performance.now() < until) {
  const due = ((performance.now() - start) / 1000) * perSecond;
  if (sent >= due) await new Promise((resolve) => setTimeout(resolve, 1));
  // Less than a millisecond's worth at a time would be many small sleeps.
  for (; sent < due; sent++) {
    const kind = kinds[sent % kinds.length];
    if (kind === undefined) continue;
    try {
      sendTo(kind[0], kind[1], address);
    } catch {
      // Its queue is full, or nobody listens: the flood goes on.
    }
  }
}
process.stdout.write(`${sent}\n`);
