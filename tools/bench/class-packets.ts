/** What packets of a VIP whose clients have classes cost in `npm run bench -- datapath`. */
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import type { TestDataPlane } from '../../bpf/testing/data-plane.ts';
import { counting } from '../../bpf/testing/packet.ts';
import { type Family, families, four, six, tcpFrame, vipOf } from '../../bpf/testing/world.ts';

/** Port of the VIP with policies forward and drop, and of that with all three. */
const port = { dropping: 86, mixed: 87 } as const;

/** As many prefixes as a VIP may have, all others than the client's. */
const others = 999;

const frameTo = (family: Family, destinationPort: number) =>
  tcpFrame(family, { destinationPort }, counting(family === four ? 10 : 6));

/** Frames of the usual client, which is in no prefix of the first two VIPs, and dropped by the third. */
export const classPackets = {
  forward4: frameTo(four, port.dropping),
  forward6: frameTo(six, port.dropping),
  mixed4: frameTo(four, port.mixed),
  drop4: frameTo(four, port.mixed + 1),
  drop6: frameTo(six, port.mixed + 1),
  l7: frameTo(four, port.mixed + 2),
} as const;

/** Adds the VIPs that these packets are for. */
export function addClassedVips({ forwarding }: TestDataPlane): void {
  for (const family of families) {
    const prefixes = Array.from({ length: others }, (_, at) =>
      ipPrefix(
        family === four ? `10.${at >> 8}.${at & 255}.0/24` : `2001:db8:${(0x1000 + at).toString(16)}::/48`,
      ),
    );
    const list = prefixes.map((prefix) => ({ prefix, policy: 'drop' as const }));
    const client = { prefix: ipPrefix(family === four ? '198.51.100.0/24' : '2001:db8:c::/48') };
    const vip = (at: number, policy: 'forward' | 'l7' | 'drop') =>
      forwarding.apply(vipOf(family, { port: at, classes: [...list, { ...client, policy }] }));
    vip(port.dropping, 'forward');
    forwarding.apply(
      vipOf(family, {
        port: port.mixed,
        classes: [
          ...list,
          { prefix: ipPrefix(family === four ? '192.0.2.0/24' : '2001:db8:d::/48'), policy: 'l7' },
        ],
      }),
    );
    vip(port.mixed + 1, 'drop');
    vip(port.mixed + 2, 'l7');
  }
}
