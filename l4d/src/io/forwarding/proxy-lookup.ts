import { randomBytes } from 'node:crypto';
import { openSync, statSync } from 'node:fs';
import { InvariantError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { pinName, pinPath, unpin } from './bpf-folder.ts';
import { objectPath, objectTypes } from './bpf-objects.ts';

/** Descriptors of the maps of sk_lookup: which listeners are the proxy's, and its sockets. */
export interface LookupFds {
  readonly listeners: number;
  readonly sockets: number;
  /** Key of the hash that spreads connections over the workers. */
  readonly steeringKey: number;
  /** What became of connections, by CPU. */
  readonly stats: number;
  /** Sessions of UDP clients, which the XDP program reads too. */
  readonly udpFlows: number;
}

/** All maps of the program, which are pinned under these names. */
export const lookupMaps = [
  'l7_listeners',
  'l7_sockets',
  'l7_steering_key',
  'l7_lookup_stats',
  'l7_udp_sockets',
  'l7_udp_flows',
  'l7_udp_workers',
] as const;

/** Opens the pinned maps of sk_lookup, or makes and pins them; one of another size is made anew. Throws SyscallError. */
export function openLookupMaps(bpfFolder: string, logger: Logger): LookupFds {
  const object = libbpf.openObject(objectPath('l7_lookup'));
  try {
    const fds = new Map<string, number>();
    libbpf.loadObject(object, 'l7_lookup');
    for (const name of lookupMaps) {
      const path = pinPath(bpfFolder, name);
      const own = libbpf.mapFd(object, name);
      let fd = libbpf.openPinned(path);
      if (fd !== undefined && libbpf.mapInfo(fd).maxEntries !== libbpf.mapInfo(own).maxEntries) {
        logger.warn({ map: name }, 'the pinned map is of another version: it is made anew');
        closeFd(fd);
        unpin(bpfFolder, name);
        fd = undefined;
      }
      if (fd === undefined) {
        libbpf.pin(own, path);
        logger.debug({ map: name }, 'map made');
        fd = libbpf.openPinned(path);
      }
      if (fd === undefined) throw new InvariantError(`${path} vanished`);
      fds.set(name, fd);
    }
    const fd = (name: (typeof lookupMaps)[number]) => fds.get(name) ?? -1;
    chooseSteeringKey(fd('l7_steering_key'));
    return {
      listeners: fd('l7_listeners'),
      sockets: fd('l7_sockets'),
      steeringKey: fd('l7_steering_key'),
      stats: fd('l7_lookup_stats'),
      udpFlows: fd('l7_udp_flows'),
    };
  } finally {
    libbpf.closeObject(object);
  }
}

/** Gives the hash of connections its key, unless it has one: nobody outside can then foretell whose worker gets which. */
function chooseSteeringKey(map: number): void {
  const key = new Uint8Array(16);
  libbpf.lookupElement(map, new Uint8Array(4), key);
  if (key.every((byte) => byte === 0)) libbpf.updateElement(map, new Uint8Array(4), randomBytes(key.length));
}

/**
 * Attaches sk_lookup to this network namespace, or swaps the program of the pinned link. A link of
 * another namespace, or of one that is gone (a container made anew, with the pins kept), is replaced.
 * Throws SyscallError.
 */
export async function attachLookup(bpfFolder: string, fds: LookupFds, logger: Logger): Promise<void> {
  const object = libbpf.openObject(objectPath('l7_lookup'));
  const path = pinPath(bpfFolder, pinName.skLookupLink);
  try {
    libbpf.reuseMap(object, 'l7_listeners', fds.listeners);
    libbpf.reuseMap(object, 'l7_sockets', fds.sockets);
    libbpf.reuseMap(object, 'l7_steering_key', fds.steeringKey);
    libbpf.reuseMap(object, 'l7_lookup_stats', fds.stats);
    for (const name of lookupMaps.slice(4)) {
      const pinned = libbpf.openPinned(pinPath(bpfFolder, name));
      if (pinned === undefined) continue;
      libbpf.reuseMap(object, name, pinned);
      closeFd(pinned);
    }
    libbpf.loadObject(object, 'l7_lookup');
    const program = libbpf.programFd(object, 'l7_lookup');
    const existing = libbpf.openPinned(path);
    if (existing !== undefined) {
      try {
        if (isOfThisNamespace(existing)) return await libbpf.updateLink(existing, program);
      } finally {
        closeFd(existing);
      }
      logger.warn({ pin: path }, 'the pinned sk_lookup link is of another network namespace: it is replaced');
      unpin(bpfFolder, pinName.skLookupLink);
    }
    const namespace = openSync('/proc/self/ns/net', 'r');
    const link = libbpf.attachSkLookup(program, namespace);
    closeFd(namespace);
    libbpf.pin(link, path);
    closeFd(link);
  } finally {
    libbpf.closeObject(object);
  }
}

function isOfThisNamespace(link: number): boolean {
  return libbpf.namespaceLinkInfo(link).namespaceInode === statSync('/proc/self/ns/net').ino;
}

/** Whether the link of a program that is attached to this network namespace is pinned. Throws SyscallError. */
export function lookupIsAttached(bpfFolder: string): boolean {
  const link = libbpf.openPinned(pinPath(bpfFolder, pinName.skLookupLink));
  if (link === undefined) return false;
  try {
    return isOfThisNamespace(link);
  } finally {
    closeFd(link);
  }
}

/** Whether any socket of the proxy is in the map: the kernel takes them out when nobody has them open. Throws SyscallError. */
export function holdsSockets(sockets: number): boolean {
  const { maxEntries } = libbpf.mapInfo(sockets);
  const cookie = new Uint8Array(8);
  for (let key = 0; key < maxEntries; key++) {
    if (libbpf.lookupElement(sockets, new Uint8Array(Uint32Array.of(key).buffer), cookie)) return true;
  }
  return false;
}

/**
 * What became of connections (and of the program's questions for a listener) since the map was made, by the names of
 * `enum lookup_reason` in lower case without their prefix. Throws SyscallError.
 */
export function readLookups(stats: number): Record<string, number> {
  const counts: Record<string, number> = {};
  const value = new Uint8Array(8 * libbpf.possibleCpus());
  for (const [name, index] of objectTypes('l7_lookup').enums.get('lookup_reason') ?? []) {
    if (name === 'LOOKUP_REASONS') continue;
    libbpf.lookupElement(stats, new Uint8Array(Uint32Array.of(index).buffer), value);
    const count = new BigUint64Array(value.buffer).reduce((sum, one) => sum + one, 0n);
    counts[name.toLowerCase().replace('lookup_', '')] = Number(count);
  }
  return counts;
}

/** The pinned table of the proxy's listeners; undefined when there is none. Throws SyscallError. */
export function openPinnedListeners(bpfFolder: string): number | undefined {
  return libbpf.openPinned(pinPath(bpfFolder, 'l7_listeners'));
}
