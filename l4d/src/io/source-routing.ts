/**
 * Delivery of what backends answer to their clients' own addresses: bpf/source_return.bpf.c marks the packets that a
 * socket of the proxy waits for, and these have the kernel take them in though the address is not this host's.
 *
 *   rule   iif IFACE fwmark 0x4d000000/0xff000000 lookup 19533   (one an interface and family)
 *   table  local default dev lo
 *
 * The rule names the interface: without it a host with net.ipv4.conf.all.src_valid_mark, which wg-quick sets, would take
 * every backend's address for one of its own when it looks for the way back, and drop the packet.
 */
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import type { IpFamily } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import type { RouteSpec } from '@l4d/kit/netlink/codec-route.ts';
import { openRtnetlink, type Rtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** Mark of such a packet (RETURN_MARK of bpf/include/l4d.h). */
export const returnMark = 0x4d000000;
/** The bits of a mark that tell it (RETURN_MARK_MASK). */
export const returnMarkMask = 0xff000000;
/** Number of the table, and priority of the rules, before the main table (32766). */
export const returnTable = 19533;

const families = [4, 6] as const;
const everything = { 4: ipPrefix('0.0.0.0/0'), 6: ipPrefix('::/0') } as const;

/**
 * Makes routes and rules for packets that come in by these interfaces, and no others; with none, nothing of it is left.
 * What is there already stays undisturbed. Rejects with SyscallError.
 */
export async function replaceSourceRouting(interfaceNames: readonly string[]): Promise<void> {
  const rtnetlink = openRtnetlink();
  try {
    for (const family of families) {
      const isThere = (await rtnetlink.routes(family, returnTable)).length > 0;
      if (interfaceNames.length > 0 && !isThere) await rtnetlink.replaceRoute(routeOf(family));
      await replaceRules(rtnetlink, family, interfaceNames);
      if (interfaceNames.length === 0 && isThere) await rtnetlink.deleteRoute(routeOf(family));
    }
  } finally {
    rtnetlink.close();
  }
}

async function replaceRules(
  rtnetlink: Rtnetlink,
  family: IpFamily,
  interfaceNames: readonly string[],
): Promise<void> {
  const missing = new Set(interfaceNames);
  const common = {
    ...{ family, priority: returnTable, table: returnTable },
    ...{ mark: returnMark, markMask: returnMarkMask },
  };
  for (const rule of await rtnetlink.rules(family)) {
    if (rule.mark !== returnMark || rule.markMask !== returnMarkMask || rule.table !== returnTable) continue;
    const { incoming, priority } = rule;
    if (incoming !== undefined && priority === returnTable && missing.delete(incoming)) continue;
    await rtnetlink.deleteRule({ ...common, priority, ...(incoming === undefined ? {} : { incoming }) });
  }
  for (const incoming of missing) await rtnetlink.ensureRule({ ...common, incoming });
}

function routeOf(family: IpFamily): RouteSpec {
  return {
    destination: everything[family],
    table: returnTable,
    type: 'local',
    interfaceIndex: interfaceIndex('lo'),
  };
}
