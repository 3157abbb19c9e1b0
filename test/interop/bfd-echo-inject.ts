/**
 * Sends echo packets of a router by up0: `node bfd-echo-inject.ts MAC ROUTER`, to that MAC, from the broadcast
 * address, a multicast one and, the last, one of a single host.
 */
import { ethernetFrame, udpDatagram } from '@l4d/announcer/core/packet-headers.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { openPacketSender, sendFrame } from '@l4d/kit/ffi/packet-socket.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { parseMacAddress } from '@l4d/kit/mac-address.ts';

const [, , mac = '', router = ''] = process.argv;
const target = parseMacAddress(mac);
if (target === undefined) throw new TypeError(`${mac} is no MAC address`);

const index = interfaceIndex('up0');
const fd = openPacketSender(index);
const address = ipAddress(router);
const ends = { from: address, to: address };
const payload = udpDatagram({ ...ends, fromPort: 50_000, toPort: 3785, data: new Uint8Array(24) });

for (const source of ['ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:05', '02:00:00:00:78:01']) {
  const frame = ethernetFrame({ ...ends, sent: true, ttl: 255, protocol: 'udp', payload });
  frame.set(target, 0);
  frame.set(parseMacAddress(source) ?? [], 6);
  sendFrame(fd, index, frame);
}
