import { parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Desired, DesiredPeer } from '../core/api.ts';
import { toAddress } from '../core/peer-address.ts';
import type { ListenerKey, ListenerProtection } from './listener.ts';
import { tcpAoKey } from './peer-settings.ts';

/** What the listener has to know of the peers before they connect; `named` are those that have an address now. */
export function listenerProtection(desired: Desired, named: readonly DesiredPeer[]): ListenerProtection {
  const { peers, interfacePeers = [], dynamicPeers = [] } = desired;
  const all = [...peers, ...interfacePeers, ...dynamicPeers.map(({ template }) => template)];
  return {
    keys: [...named.flatMap(peerKey), ...dynamicPeers.flatMap(rangeKey)],
    fullTtl: all.some(({ ttlSecurityHops }) => ttlSecurityHops !== undefined),
  };
}

function peerKey(peer: DesiredPeer): ListenerKey[] {
  const address = toAddress(peer.address);
  return address === undefined ? [] : keysOf({ address }, peer);
}

function rangeKey({ range, template }: NonNullable<Desired['dynamicPeers']>[number]): ListenerKey[] {
  const parsed = parseIpPrefix(range);
  if (!parsed.ok) return [];
  const { address, length } = parsed.value;
  return keysOf({ address, prefixLength: length }, template);
}

function keysOf(owner: ListenerKey['owner'], peer: Pick<DesiredPeer, 'password' | 'tcpAo'>): ListenerKey[] {
  const ao = tcpAoKey(peer);
  const { password } = peer;
  return [
    ...(password === undefined ? [] : [{ owner, password }]),
    ...(ao === undefined ? [] : [{ owner, ao }]),
  ];
}
