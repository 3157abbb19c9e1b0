/**
 * Routing of marked health checks: packets to VIP:port that carry CHECK_MARK leave by the balancer's
 * interface as if they had a next hop, and bpf/check_steering.bpf.c writes the MAC of the backend whose
 * index the mark holds over that of the next hop.
 *
 *   rule   fwmark 0x4c000000/0xff000000 lookup 19532
 *   table  default via 169.254.76.52 (fe80::4c34) dev IFACE onlink
 *   neighbour of that next hop: permanent, 02:6c:34:64:00:01, so that nothing is ever asked for
 *
 * The kernel drops route and neighbour when the interface goes down: ensure again when it is back.
 * Two things a host must have for the answers: a VIP that is a local address here (an l7 VIP) is
 * delivered locally before any rule of a priority above 0 is asked, so it cannot be checked this way (addresses that
 * are the proxy's and backends': shared-address-routes.ts); and strict reverse-path filtering wants a route back to the VIP over the same interface.
 */
import { UnsupportedFeature } from '@l4d/kit/errors.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { type IpFamily, ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import type { RouteSpec } from '@l4d/kit/netlink/codec-route.ts';
import type { RuleSpec } from '@l4d/kit/netlink/codec-rule.ts';
import { openRtnetlink, type Rtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** Mark of a check (CHECK_MARK of bpf/include/l4d.h); the low 24 bits are the index of the backend. */
export const checkMark = 0x4c000000;
/** The bits of a mark that tell a check (CHECK_MARK_MASK). */
export const checkMarkMask = 0xff000000;
/** Number of the table by default: 0x4c4c. */
export const checkTable = 19532;
/** Priority of the rules by default: before the main table (32766) and what operators commonly add. */
export const checkRulePriority = 19532;

/** The next hop that marked checks are sent to: it does not exist. */
const nextHops = { 4: ipAddress('169.254.76.52'), 6: ipAddress('fe80::4c34') } as const;
const everything = { 4: ipPrefix('0.0.0.0/0'), 6: ipPrefix('::/0') } as const;
/** Locally administered; "l4d" in the middle. */
const nextHopMac = Uint8Array.of(0x02, 0x6c, 0x34, 0x64, 0x00, 0x01);

/** Options of ensureCheckRouting and removeCheckRouting. */
export interface CheckRoutingOptions {
  readonly interfaceName: string;
  /** Both by default. */
  readonly families?: readonly IpFamily[];
  readonly table?: number;
  readonly priority?: number;
}

/** The mark of checks for the backend of that index (0 to 16,777,215). Throws a RangeError for another. */
export function markOfBackend(index: number): number {
  if (!Number.isInteger(index) || index < 0 || index > 0xffffff)
    throw new RangeError(`backend index ${index}`);
  return checkMark | index;
}

/**
 * Makes rule, route and neighbour, each unless it is there; rules of ours that point elsewhere go.
 * Rejects with UnsupportedFeature when there is no such interface, with SyscallError for what the kernel refuses.
 */
export async function ensureCheckRouting(options: CheckRoutingOptions): Promise<void> {
  const index = interfaceIndex(options.interfaceName);
  if (index === 0) throw new UnsupportedFeature(`interface ${options.interfaceName}`, 'name one that exists');
  await withRtnetlink(async (rtnetlink) => {
    for (const family of familiesOf(options)) {
      // The neighbour first: with the route alone a check would wait for an answer that never comes.
      await rtnetlink.setPermanentNeighbour(index, nextHops[family], nextHopMac);
      await rtnetlink.replaceRoute(routeOf(family, index, options));
      const rule = ruleOf(family, options);
      await removeRules(
        rtnetlink,
        family,
        (other) => other.priority !== rule.priority || other.table !== rule.table,
      );
      await rtnetlink.ensureRule(rule);
    }
  });
}

/** Removes what ensureCheckRouting made, as far as it is there. Rejects with SyscallError. */
export async function removeCheckRouting(options: CheckRoutingOptions): Promise<void> {
  const index = interfaceIndex(options.interfaceName);
  await withRtnetlink(async (rtnetlink) => {
    for (const family of familiesOf(options)) {
      await removeRules(rtnetlink, family, () => true);
      // Route and neighbour went with the interface when that is gone.
      if (index === 0) continue;
      await rtnetlink.deleteRoute(routeOf(family, index, options));
      await rtnetlink.removeNeighbour(index, nextHops[family]);
    }
  });
}

async function removeRules(
  rtnetlink: Rtnetlink,
  family: IpFamily,
  which: (rule: { priority: number; table: number }) => boolean,
): Promise<void> {
  for (const { priority, table, mark, markMask } of await rtnetlink.rules(family)) {
    if (mark !== checkMark || markMask !== checkMarkMask || !which({ priority, table })) continue;
    await rtnetlink.deleteRule({ family, priority, table, mark, markMask });
  }
}

function familiesOf(options: CheckRoutingOptions): readonly IpFamily[] {
  return options.families ?? [4, 6];
}

function routeOf(family: IpFamily, index: number, options: CheckRoutingOptions): RouteSpec {
  return {
    destination: everything[family],
    table: options.table ?? checkTable,
    gateway: nextHops[family],
    onLink: true,
    interfaceIndex: index,
  };
}

function ruleOf(family: IpFamily, options: CheckRoutingOptions): RuleSpec {
  const table = options.table ?? checkTable;
  return {
    family,
    priority: options.priority ?? checkRulePriority,
    table,
    mark: checkMark,
    markMask: checkMarkMask,
  };
}

async function withRtnetlink(work: (rtnetlink: Rtnetlink) => Promise<void>): Promise<void> {
  const rtnetlink = openRtnetlink();
  try {
    await work(rtnetlink);
  } finally {
    rtnetlink.close();
  }
}
