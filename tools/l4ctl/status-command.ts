import type { FabricStatus, VerdictCode } from '@l4d/l4d/core/status.ts';
import type { Command } from 'commander';
import { bfdCause } from './bfd-cause.ts';
import type { Ctl } from './ctl.ts';
import { compactCount, formatUptime } from './table.ts';

/** `l4ctl status`. */
export function addStatusCommand(program: Command, ctl: Ctl): void {
  program
    .command('status')
    .description('the fabric on this host in a few lines')
    .action(async () => {
      const answer = (await ctl.ask('GET', '/v1/status')) as FabricStatus;
      ctl.print(answer, () => statusText(answer, ctl.env.now()));
    });
}

/** Verdicts with nothing to act on here: what is detached has its own line, a standby waits for its turn. */
const needsNobody: ReadonlySet<VerdictCode> = new Set<VerdictCode>(['detached', 'standby']);

/** The flow table: what is in it, what it loses, and what it does not take. */
function flowsText({ flowTable, dropReasons }: FabricStatus['dataplane']): string {
  const { kind, entries, capacity, insertsPerSecond, census } = flowTable;
  const limited = dropReasons['note_flow_limited'] ?? 0;
  return [
    `${entries === undefined ? '' : `${compactCount(entries)} of `}${compactCount(capacity)}${kind === 'per-cpu' ? ', and a table for each CPU' : ''}`,
    ...(census === undefined
      ? []
      : [`evicted ${compactCount(census.evicted)} (a pass takes ${(census.tookMs / 1000).toFixed(1)} s)`]),
    ...(insertsPerSecond === 0 ? [] : [`at most ${compactCount(insertsPerSecond)} new a second`]),
    ...(limited === 0 ? [] : [`${compactCount(limited)} packets not stored`]),
  ].join(', ');
}

/** A status in a few lines; what needs the operator's eye stands last. */
export function statusText(status: FabricStatus, nowMs: number): string {
  const { host, dataplane, vips, bgp } = status;
  const announced = vips.filter((vip) => vip.announced).length;
  const standby = vips.filter(({ verdict }) => verdict.code === 'standby').length;
  const peers = bgp.announcer?.peers ?? [];
  const established = peers.filter((peer) => peer.state === 'Established').length;
  // The reasons count what was passed and forwarded too; only drops are drops.
  const drops = Object.entries(dataplane.dropReasons).filter(
    ([reason, count]) => reason.startsWith('drop_') && count > 0,
  );
  const trouble = [
    ...(host.warnings ?? []),
    ...(status.leaving ?? []).map(
      ({ name, key, ending }) => `vip ${name ?? key} was removed: ${ending.text}`,
    ),
    ...vips.flatMap(({ name, announced, ending }) =>
      announced && ending !== undefined ? [`vip ${name} is leaving: ${ending.text}`] : [],
    ),
    ...vips
      .filter((vip) => vip.enabled && !vip.announced && !needsNobody.has(vip.verdict.code))
      .map((vip) => `vip ${vip.name} is not announced: ${vip.verdict.reason}`),
    ...(status.detached?.all === true ? ['everything is detached from the packet path'] : []),
    ...(status.detached?.vips ?? []).map((name) => `vip ${name} is detached from the packet path`),
    ...peers
      .filter((peer) => peer.state !== 'Established')
      .map(
        (peer) =>
          `peer ${peer.address} is in ${peer.state}${peer.lastError === undefined ? '' : `: ${peer.lastError.text}`}`,
      ),
    // The session may be up without it: nothing else would tell that a dead path is noticed late.
    ...peers.flatMap(({ address, bfd }) => {
      const cause = bfd === undefined ? undefined : bfdCause(bfd);
      return cause === undefined ? [] : [`peer ${address} has BFD in ${bfd?.state}: ${cause}`];
    }),
    ...(status.lastError === undefined ? [] : [`last failure: ${status.lastError.message}`]),
  ];
  const lines = [
    `l4d ${status.version}, pid ${status.pid}, up ${formatUptime(nowMs - status.startedAtMs)}, revision ${status.revision}`,
    `host       ${interfacesText(host)}${host.draining ? ', draining' : ''}`,
    `vips       ${announced} of ${vips.length} announced${standby === 0 ? '' : `, ${standby} standby`}`,
    bgp.state === 'running'
      ? `bgp        ${established} of ${peers.length} sessions established`
      : `bgp        ${bgp.state}${bgp.reason === undefined ? '' : `: ${bgp.reason}`}`,
    ...(status.proxyHosts === undefined ? [] : [`l7 hosts   ${proxyHostsText(status.proxyHosts)}`]),
    ...lookupLines(dataplane.lookups),
    `dataplane  ${dataplane.program ?? 'no program'}`,
    `flows      ${flowsText(dataplane)}`,
    `drops      ${drops.length === 0 ? 'none' : drops.map(([reason, count]) => `${reason} ${compactCount(count)}`).join(', ')}`,
    ...trouble.map((text) => `! ${text}`),
  ];
  return `${lines.join('\n')}\n`;
}

/** New connections to l7 VIPs, and those that nobody served; nothing while there were none. */
function lookupLines(lookups: FabricStatus['dataplane']['lookups'] = {}): string[] {
  const {
    assigned = 0,
    no_proxy: noProxy = 0,
    assign_refused: kernel = 0,
    other_port: otherPort = 0,
  } = lookups;
  if (assigned + noProxy + kernel + otherPort === 0) return [];
  const refused = [
    ...(noProxy + kernel === 0 ? [] : [`${compactCount(noProxy + kernel)} refused as no worker lived`]),
    ...(otherPort === 0 ? [] : [`${compactCount(otherPort)} refused at other ports`]),
  ];
  return [`l7 conns   ${[`${compactCount(assigned)} to workers`, ...refused].join(', ')}`];
}

/** Each with its state and its share of new connections. */
function proxyHostsText(hosts: NonNullable<FabricStatus['proxyHosts']>): string {
  return hosts
    .map(({ address, state, isSelf, isLive, share, tunnelMtu }) => {
      const way = tunnelMtu === undefined ? '' : ` by tunnel (MTU ${tunnelMtu})`;
      const what = isLive ? `${state} ${Math.round(share * 100)}%${way}` : 'does not answer';
      return `${address}${isSelf ? ' (this one)' : ''} ${what}`;
    })
    .join(', ');
}

/** The interfaces that the program is on, and how. */
function interfacesText({ interface: name, xdpMode, interfaces = [] }: FabricStatus['host']): string {
  const further = interfaces.map((one) => `, ${one.name} ${one.xdpMode}`);
  return `${name}, XDP ${xdpMode}${further.join('')}`;
}
