/**
 * Pure edits of desired state. Each answers a whole new state that was checked as a whole, or what is
 * wrong; the state given is never changed. Paths of problems are relative to what the caller gave
 * (`port`), or from the top (`vips[0].minHealthy`) when something else no longer fits.
 */

import { declaredPeerName, type Peer, peerSchema } from '@l4d/announcer/core/config/peer.ts';
import { formatPeerAddress, parsePeerAddress } from '@l4d/announcer/core/peer-address.ts';
import { formatIpAddress, parseIpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { err, ok, type Result } from '@l4d/kit/result.ts';
import { decodeWith } from '@l4d/kit/schema/decode.ts';
import { parseEndpoint } from '@l4d/kit/schema/endpoint.ts';
import {
  didYouMean,
  formatPath,
  type PathProblem,
  type PathSegment,
  problemAt,
} from '@l4d/kit/schema/problem.ts';
import { z } from 'zod';
import { type Backend, backendSchema } from './desired/backend.ts';
import { hostSchema } from './desired/host.ts';
import { backendPort, completeVip, encodeVip, type Vip, vipSchema, withoutFilledIn } from './desired/vip.ts';
import { type VipChanges, withVipChanges } from './desired/vip-changes.ts';
import { vipIndexOf } from './desired/vip-index.ts';
import { checkEditedState, type DesiredState, type JsonObject } from './desired-state.ts';

/** A new state, or what is wrong with the edit. */
export type Edited = Result<DesiredState, PathProblem[]>;

/** The VIP of a name, with its place. */
export function findVip(
  state: DesiredState,
  name: string,
): Result<{ vip: Vip; index: number }, PathProblem[]> {
  const [vip] = vipIndexOf(state.vips).named(name);
  if (vip !== undefined) return ok({ vip, index: state.vips.indexOf(vip) });
  const names = state.vips.map((known) => known.name);
  return err([
    problemAt(['name'], `no VIP is named "${name}"`, didYouMean(name, names) ?? knownNames(names)),
  ]);
}

/** The peer of an address or interface, with its place. */
export function findPeer(
  state: DesiredState,
  address: string,
): Result<{ peer: Peer; index: number }, PathProblem[]> {
  const wanted = parsePeerAddress(address);
  const name = wanted.ok ? formatPeerAddress(wanted.value) : address;
  const index = state.peers.findIndex((peer) => declaredPeerName(peer) === name);
  const peer = state.peers[index];
  if (peer !== undefined) return ok({ peer, index });
  const known = state.peers.map(declaredPeerName);
  return err([
    problemAt(
      ['address'],
      `no peer has the ${wanted.ok ? 'address' : 'interface'} "${address}"`,
      knownNames(known),
    ),
  ]);
}

/** Places of the backends that `ADDRESS` or `ADDRESS:PORT` (l7) stands for; an address alone must be one backend. */
export function findBackends(vip: Vip, selector: string): Result<number[], PathProblem[]> {
  const address = parseIpAddress(selector);
  const endpoint = address.ok ? undefined : parseEndpoint(selector);
  const found = [...vip.backends.entries()].filter(([, backend]) => {
    if (address.ok) return sameIpAddress(backend.address, address.value);
    if (endpoint?.ok !== true) return false;
    return (
      sameIpAddress(backend.address, endpoint.value.address) &&
      backendPort(vip, backend) === endpoint.value.port
    );
  });
  if (found.length === 0) {
    const known = vip.backends.map((backend) => formatIpAddress(backend.address));
    return err([problemAt(['address'], `VIP "${vip.name}" has no backend "${selector}"`, knownNames(known))]);
  }
  if (address.ok && found.length > 1) {
    return err([
      problemAt(
        ['address'],
        `"${selector}" is ${found.length} backends of "${vip.name}"`,
        'say ADDRESS:PORT',
      ),
    ]);
  }
  return ok(found.map(([index]) => index));
}

/** Adds a VIP given as JSON. */
export function addVip(state: DesiredState, json: unknown): Edited {
  const declared = decodeWith(vipSchema, json);
  if (!declared.ok) return declared;
  const at = state.vips.length;
  return withVips(state, { at, removed: [], added: [completeVip(declared.value)] }, ['vips', at]);
}

/** Removes a VIP and its backends. */
export function removeVip(state: DesiredState, name: string): Edited {
  const found = findVip(state, name);
  if (!found.ok) return found;
  const { vip, index } = found.value;
  return withVips(state, { at: index, removed: [vip], added: [] }, []);
}

/** Takes several VIPs out in one change; a name given twice counts once, one that is unknown refuses all. */
export function removeVips(state: DesiredState, names: readonly string[]): Edited {
  let next: Edited = ok(state);
  for (const name of new Set(names)) {
    if (!next.ok) return next;
    next = removeVip(next.value, name);
  }
  return next;
}

/** Replaces fields of a VIP by those of a JSON object; null takes a field back to its default. */
export function changeVip(state: DesiredState, name: string, patch: unknown): Edited {
  const found = findVip(state, name);
  if (!found.ok) return found;
  const { vip, index } = found.value;
  const merged = merge(encodeVip(vip), patch);
  if (!merged.ok) return merged;
  const declared = decodeWith(vipSchema, merged.value);
  if (!declared.ok) return declared;
  const added = [completeVip(withoutFilledIn(declared.value, vip))];
  const changes = { at: index, removed: [vip], added };
  return withVips(state, changes, ['vips', index]);
}

/** Adds a backend, given as JSON, to a VIP. */
export function addBackend(state: DesiredState, name: string, json: unknown): Edited {
  const found = findVip(state, name);
  if (!found.ok) return found;
  const backend = decodeWith(backendSchema, json);
  if (!backend.ok) return backend;
  const { vip } = found.value;
  return withBackends(state, found.value, [...vip.backends, backend.value], vip.backends.length);
}

/** Removes a backend (see findBackends). */
export function removeBackend(state: DesiredState, name: string, selector: string): Edited {
  const found = findVip(state, name);
  if (!found.ok) return found;
  const places = findBackends(found.value.vip, selector);
  if (!places.ok) return places;
  const kept = found.value.vip.backends.filter((_, index) => !places.value.includes(index));
  return withBackends(state, found.value, kept);
}

/** Replaces fields of a backend (see findBackends), such as `weight` and `drain`, by those of a JSON object. */
export function changeBackend(state: DesiredState, name: string, selector: string, patch: unknown): Edited {
  const found = findVip(state, name);
  if (!found.ok) return found;
  const places = findBackends(found.value.vip, selector);
  if (!places.ok) return places;
  let backends: readonly Backend[] = found.value.vip.backends;
  for (const place of places.value) {
    const merged = merge(z.encode(backendSchema, backends[place] as Backend), patch);
    if (!merged.ok) return merged;
    const backend = decodeWith(backendSchema, merged.value);
    if (!backend.ok) return backend;
    backends = backends.with(place, backend.value);
  }
  return withBackends(state, found.value, backends, places.value[0]);
}

/** Adds a BGP neighbour given as JSON. */
export function addPeer(state: DesiredState, json: unknown): Edited {
  const peer = decodeWith(peerSchema, json);
  if (!peer.ok) return peer;
  return checked(state, { ...state, peers: [...state.peers, peer.value] }, ['peers', state.peers.length]);
}

/** Removes a BGP neighbour. */
export function removePeer(state: DesiredState, address: string): Edited {
  const found = findPeer(state, address);
  if (!found.ok) return found;
  return checked(state, { ...state, peers: state.peers.toSpliced(found.value.index, 1) }, []);
}

/** Replaces fields of the host, such as `draining` and `bgp`, by those of a JSON object. */
export function changeHost(state: DesiredState, patch: unknown): Edited {
  const merged = merge(z.encode(hostSchema, state.host), patch);
  if (!merged.ok) return merged;
  const host = decodeWith(hostSchema, merged.value);
  if (!host.ok) return host;
  return checked(state, { ...state, host: host.value }, ['host']);
}

function withBackends(
  state: DesiredState,
  at: { readonly vip: Vip; readonly index: number },
  backends: readonly Backend[],
  place?: number,
): Edited {
  const changed = { ...at.vip, backends: [...backends] };
  const prefix = place === undefined ? [] : ['vips', at.index, 'backends', place];
  return withVips(state, { at: at.index, removed: [at.vip], added: [changed] }, prefix);
}

function withVips(state: DesiredState, changes: VipChanges, prefix: readonly PathSegment[]): Edited {
  return checked(state, { ...state, vips: withVipChanges(state.vips, changes) }, prefix);
}

/** Checks the whole; problems under `prefix` are told relative to it. */
function checked(before: DesiredState, after: DesiredState, prefix: readonly PathSegment[]): Edited {
  const result = checkEditedState(before, after);
  if (result.ok) return result;
  return err(
    result.error.map((problem) => {
      const within =
        prefix.length > 0 && prefix.every((segment, index) => problem.segments[index] === segment);
      if (!within) return problem;
      const segments = problem.segments.slice(prefix.length);
      return { ...problem, segments, path: formatPath(segments) };
    }),
  );
}

function merge(encoded: JsonObject, patch: unknown): Result<JsonObject, PathProblem[]> {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) {
    return err([problemAt([], 'the change is not a mapping of fields')]);
  }
  const entries = Object.entries({ ...encoded, ...patch }).filter(([, value]) => value !== null);
  return ok(Object.fromEntries(entries));
}

function knownNames(names: readonly string[]): string {
  if (names.length === 0) return 'there is none yet';
  return `known: ${names.slice(0, 8).join(', ')}${names.length > 8 ? `, and ${names.length - 8} more` : ''}`;
}
