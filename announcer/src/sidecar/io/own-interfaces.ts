import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import type { InterfaceView } from '../core/own-addresses.ts';

/** The interfaces of this network namespace but loopback, with their addresses, in the kernel's order. Rejects with SyscallError. */
export async function ownInterfaces(): Promise<InterfaceView[]> {
  const rtnetlink = openRtnetlink();
  try {
    const [links, addresses] = await Promise.all([rtnetlink.links(), rtnetlink.addresses()]);
    return links
      .filter(({ loopback }) => !loopback)
      .toSorted((one, other) => one.index - other.index)
      .map(({ name, index }) => ({
        name,
        addresses: addresses.filter(({ interfaceIndex }) => interfaceIndex === index),
      }));
  } finally {
    rtnetlink.close();
  }
}
