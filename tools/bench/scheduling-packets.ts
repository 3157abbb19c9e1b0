/** What the packets of `npm run bench -- datapath` go through beside Maglev and the shared flow table. */

import { usualSelection } from '@l4d/l4d/core/forwarding/backend-selection.ts';
import type { TestDataPlane } from '../../bpf/testing/data-plane.ts';
import { counting, tcpFlag } from '../../bpf/testing/packet.ts';
import { backend, four, tcpFrame, udpFrame, vipOf } from '../../bpf/testing/world.ts';

/** Ports of the VIPs by what they do; QUIC has the fixtures' usual one. */
const port = { stateless: 83, turn: 84, load: 85 } as const;

const quic = { configId: 1, serverIdLength: 4 } as const;
const serverId = '0a000015';

/** Frames of 64 bytes without frame check sequence. */
export const schedulingPackets = {
  stateless: tcpFrame(four, { destinationPort: port.stateless }, counting(10)),
  turn: tcpFrame(four, { destinationPort: port.turn }, counting(10)),
  turnSyn: tcpFrame(four, { destinationPort: port.turn, flags: tcpFlag.syn }, counting(10)),
  load: tcpFrame(four, { destinationPort: port.load }, counting(10)),
  loadSyn: tcpFrame(four, { destinationPort: port.load, flags: tcpFlag.syn }, counting(10)),
  quic: udpFrame(
    four,
    Uint8Array.from([0x40, quic.configId << 5, ...Buffer.from(serverId, 'hex'), ...counting(16)]),
    { destination: four.otherVip },
  ),
} as const;

/** Adds the VIPs that these packets are for. */
export function addSchedulingVips({ forwarding }: TestDataPlane): void {
  const of = (changes: Partial<typeof usualSelection>) => ({ ...usualSelection, ...changes });
  const vip = (changes: Parameters<typeof vipOf>[1]) => forwarding.apply(vipOf(four, changes));
  vip({ port: port.stateless, selection: of({ isStateless: true }) });
  vip({ port: port.turn, selection: of({ by: 'turn' }) });
  vip({ port: port.load, selection: of({ by: 'load' }) });
  forwarding.apply(
    vipOf(
      { ...four, vip: four.otherVip },
      { protocol: 'udp', selection: of({ quic }), backends: [backend(four, 0, { serverId })] },
    ),
  );
}
