/** Runs on a machine of the VRRP lab: sends advertisements that must be dropped, for virtual router 51 of IPv4. */

import { vrrpChecksum } from '@l4d/announcer/core/vrrp/checksum.ts';
import { advertisementFrame } from '@l4d/announcer/core/vrrp/frame.ts';
import { encodeAdvertisement, vrrpGroup } from '@l4d/announcer/core/vrrp/packet.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { openPacketSender, sendFrame } from '@l4d/kit/ffi/packet-socket.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';

const [, , virtual = ''] = process.argv;
const index = interfaceIndex('eth0');
const fd = openPacketSender(index);
const source = ipAddress('10.79.0.100');
const mac = Uint8Array.of(0x02, 0, 0, 0, 0x79, 0x66);
const addresses = [ipAddress(virtual)];
const good = encodeAdvertisement({ vrid: 51, priority: 254, intervalCs: 10, addresses }, source, 'rfc9568');

/** The message with an octet changed, its checksum made right again. */
function changed(at: number, value: number): Uint8Array {
  const bytes = good.slice();
  bytes[at] = value;
  bytes.fill(0, 6, 8);
  const checksum = vrrpChecksum(bytes, source, vrrpGroup[4], 'rfc9568');
  bytes.set([checksum >> 8, checksum & 255], 6);
  return bytes;
}

const send = (message: Uint8Array, ttl = 255) => {
  const frame = advertisementFrame(message, source, mac);
  frame[22] = ttl;
  // The header's checksum changes with its TTL: 255 less a value is what its high octet gains, carries included.
  const sum = ((frame[24] ?? 0) << 8) + (frame[25] ?? 0) + ((255 - ttl) << 8);
  const folded = (sum & 0xffff) + (sum >> 16);
  frame.set([folded >> 8, folded & 255], 24);
  sendFrame(fd, index, frame);
};

const broken = good.slice();
broken[6] = (broken[6] ?? 0) ^ 0x55;
send(broken);
send(good, 254);
send(changed(0, 0x21));
send(changed(0, 0x32));
send(changed(5, 0));
send(good.subarray(0, 7));

/** A question for the address, to all; with a VLAN tag when there is one. */
function ask(tag: readonly number[]): void {
  const header = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ...mac, ...tag, 0x08, 0x06];
  const request = [0, 1, 8, 0, 6, 4, 0, 1, ...mac, ...source.bytes, 0, 0, 0, 0, 0, 0];
  sendFrame(fd, index, Uint8Array.from([...header, ...request, ...(addresses[0]?.bytes ?? [])]));
}
// Of a VLAN that the hosts do not have, and then with a priority alone.
for (let time = 0; time < 60; time++) ask([0x81, 0x00, 0, 100]);
for (let time = 0; time < 20; time++) ask([0x81, 0x00, 0, 0]);
send(changed(1, 99));
