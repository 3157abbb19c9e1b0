import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import type { Backend } from './desired/backend.ts';
import { backendPool, backendPort, encodeVip, type Vip } from './desired/vip.ts';
import { isProxied } from './desired/vip-classes.ts';
import { type DesiredState, encodeDesiredState, type JsonObject } from './desired-state.ts';
import { schedulingWarnings } from './scheduling-warnings.ts';
import { maskPeer } from './secret-masking.ts';
import type { ChangeView } from './status.ts';

/** The differences between two desired states, one VIP, backend, peer or the host each. */
export function diffDesired(before: DesiredState, after: DesiredState): ChangeView[] {
  // VIPs that an edit did not touch are the same values: no need to look inside.
  const untouched = new Set(after.vips);
  const shared = new Set(before.vips.filter((vip) => untouched.has(vip)));
  const from = parts(before, shared);
  const to = parts(after, shared);
  const changes: ChangeView[] = [];
  for (const [subject, value] of from) {
    if (!to.has(subject)) changes.push({ action: 'remove', subject, fields: [] });
    else {
      const fields = changedFields(value, to.get(subject) ?? {});
      if (fields.length > 0) changes.push({ action: 'change', subject, fields });
    }
  }
  for (const subject of to.keys()) {
    if (!from.has(subject)) changes.push({ action: 'add', subject, fields: [] });
  }
  return changes;
}

/** What an operator should weigh before the change from one state to the other. */
export function diffWarnings(before: DesiredState, after: DesiredState): string[] {
  const known = new Map(before.vips.map((vip) => [vip.name, vip]));
  const ofHost =
    JSON.stringify(before.host.capacity) === JSON.stringify(after.host.capacity)
      ? []
      : ['host.capacity: the maps get these sizes when the daemon starts the next time; flows stay'];
  const ofTables =
    before.host.flowTable === after.host.flowTable
      ? []
      : ['host.flowTable: takes effect at the next start of the daemon; no packet is lost by it'];
  const ofVips = after.vips.flatMap((vip) => {
    const old = known.get(vip.name);
    const warnings: string[] = [];
    if (old !== undefined && old.tableSize !== vip.tableSize) {
      warnings.push(
        `VIP "${vip.name}": the table goes from ${old.tableSize} to ${vip.tableSize} slots; most flows without an entry in the flow table move to another backend`,
      );
    }
    if (vip.check.type === 'udp' && vip.check.expect === undefined && old?.check !== vip.check) {
      warnings.push(
        `VIP "${vip.name}": its UDP check expects no answer, so only an ICMP error takes a backend down; one that falls silent stays up (declare send and expect)`,
      );
    }
    if (old === undefined || JSON.stringify(schedulingOf(old)) !== JSON.stringify(schedulingOf(vip))) {
      warnings.push(...schedulingWarnings(vip));
    }
    return warnings;
  });
  return [...ofHost, ...ofTables, ...ofVips];
}

/** What schedulingWarnings looks at: they are told when it changes. */
function schedulingOf({ scheduler, slowStart, stateful }: Vip): unknown {
  return [scheduler, slowStart, stateful];
}

function parts(state: DesiredState, leftOut: ReadonlySet<Vip>): Map<string, JsonObject> {
  const encoded = encodeDesiredState({ ...state, vips: [] }) as {
    host: JsonObject;
    peers: JsonObject[];
    dynamicPeers?: JsonObject[];
  };
  const found = new Map<string, JsonObject>([['host', encoded.host]]);
  for (const peer of encoded.peers) found.set(`peer ${peer.address ?? peer.interface}`, peer);
  for (const peer of encoded.dynamicPeers ?? []) found.set(`peers of ${peer.range}`, peer);
  for (const vip of state.vips) {
    if (leftOut.has(vip)) continue;
    const { backends, ...fields } = encodeVip(vip) as JsonObject & { backends: JsonObject[] };
    found.set(`vip ${vip.name}`, fields);
    for (const [place, backend] of vip.backends.entries()) {
      found.set(`backend ${backendText(vip, backend)} of ${vip.name}`, backends[place] ?? {});
    }
  }
  return found;
}

function backendText(vip: Vip, backend: Backend): string {
  const address = formatIpAddress(backend.address);
  return isProxied(vip)
    ? `${address} port ${backendPort(vip, backend)} pool ${backendPool(backend)}`
    : address;
}

function changedFields(before: JsonObject, after: JsonObject): string[] {
  return changedWithin('', { before, after, shownBefore: maskPeer(before), shownAfter: maskPeer(after) });
}

/** Both sides of a mapping, and what of it may be told. */
interface Sides {
  readonly before: JsonObject;
  readonly after: JsonObject;
  readonly shownBefore: JsonObject;
  readonly shownAfter: JsonObject;
}

/** Of a mapping that both sides have, the fields that differ; `prefix` is its own path with a dot. */
function changedWithin(prefix: string, { before, after, shownBefore, shownAfter }: Sides): string[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys
    .filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]))
    .flatMap((key) => {
      const [one, other, shownOne, shownOther] = [
        before[key],
        after[key],
        shownBefore[key],
        shownAfter[key],
      ].map((value) => (isMapping(value) ? value : undefined));
      if (one && other && shownOne && shownOther) {
        const sides = { before: one, after: other, shownBefore: shownOne, shownAfter: shownOther };
        return changedWithin(`${prefix}${key}.`, sides);
      }
      const path = `${prefix}${key}`;
      const [from, to] = [JSON.stringify(shownBefore[key]), JSON.stringify(shownAfter[key])];
      return from === to ? `${path}: changed (not shown)` : `${path}: ${from ?? 'unset'} -> ${to ?? 'unset'}`;
    });
}

function isMapping(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
