/**
 * Routes for addresses that are both the proxy's and backends'. What comes in for them by the interfaces of VIPs is
 * local, for the proxy; what this host sends to them is not, so that checks get to the backends (check-routing.ts):
 *
 *   rule   iif IFACE lookup 19534
 *   table  local VIP dev lo
 *
 * The proxy's sockets then send from an address that the host does not have: see allowForeignSource.
 */
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Rtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import { ourProtocol } from './local-routes.ts';

/** Number of the table, and priority of its rules: after those of checks (check-routing.ts). */
export const sharedAddressTable = 19534;

/**
 * Has what comes in by the interfaces for these addresses delivered locally, and for no others; without addresses
 * there are no rules. Rejects with SyscallError.
 */
export async function replaceSharedRoutes(
  addresses: readonly IpAddress[],
  interfaces: readonly string[],
): Promise<void> {
  const rtnetlink = openRtnetlink();
  try {
    for (const family of [4, 6] as const) {
      const own = addresses.filter((address) => address.family === family);
      await replaceTable(rtnetlink, family, own);
      await replaceRules(rtnetlink, family, own.length === 0 ? [] : interfaces);
    }
  } finally {
    rtnetlink.close();
  }
}

/** The addresses of which that is so. Rejects with SyscallError. */
export async function sharedAddresses(): Promise<IpAddress[]> {
  const rtnetlink = openRtnetlink();
  try {
    const tables = [
      await rtnetlink.routes(4, sharedAddressTable),
      await rtnetlink.routes(6, sharedAddressTable),
    ];
    return tables.flat().map(({ destination }) => destination.address);
  } finally {
    rtnetlink.close();
  }
}

/** As replaceSharedRoutes, by the interfaces that there are rules for. */
export async function keepSharedRoutes(addresses: readonly IpAddress[]): Promise<void> {
  const rtnetlink = openRtnetlink();
  const interfaces = new Set<string>();
  try {
    for (const family of [4, 6] as const)
      for (const { table, incoming } of await rtnetlink.rules(family))
        if (table === sharedAddressTable && incoming !== undefined) interfaces.add(incoming);
  } finally {
    rtnetlink.close();
  }
  await replaceSharedRoutes(addresses, [...interfaces]);
}

async function replaceTable(
  rtnetlink: Rtnetlink,
  family: 4 | 6,
  addresses: readonly IpAddress[],
): Promise<void> {
  const loopback = interfaceIndex('lo');
  const wanted = new Map(
    addresses.map((address) => [formatIpPrefix(hostPrefix(address)), hostPrefix(address)]),
  );
  const common = { table: sharedAddressTable, type: 'local', protocol: ourProtocol } as const;
  for (const { destination } of await rtnetlink.routes(family, sharedAddressTable)) {
    if (wanted.delete(formatIpPrefix(destination))) continue;
    await rtnetlink.deleteRoute({ ...common, destination, interfaceIndex: loopback });
  }
  for (const destination of wanted.values())
    await rtnetlink.replaceRoute({ ...common, destination, interfaceIndex: loopback });
}

async function replaceRules(
  rtnetlink: Rtnetlink,
  family: 4 | 6,
  interfaces: readonly string[],
): Promise<void> {
  const ruleOf = (incoming: string) => ({
    family,
    priority: sharedAddressTable,
    table: sharedAddressTable,
    incoming,
  });
  for (const name of interfaces) await rtnetlink.ensureRule(ruleOf(name));
  for (const { table, incoming } of await rtnetlink.rules(family)) {
    if (table !== sharedAddressTable || incoming === undefined || interfaces.includes(incoming)) continue;
    await rtnetlink.deleteRule(ruleOf(incoming));
  }
}
