/**
 * The decapsulating program (bpf/decap.bpf.c) on a backend's interface. It needs no daemon: link and
 * maps are pinned in a folder of bpffs.
 */
import { InvariantError, OperatorError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { type IpAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import { ensureBpfFolder, pinName, pinPath, removeBpfFolder } from './bpf-folder.ts';
import { enumConstant, objectPath, objectTypes, structLayout } from './bpf-objects.ts';
import {
  attachXdpProgram,
  type DataPlaneInterface,
  pinnedXdpInterface,
  type XdpMode,
} from './xdp-attachment.ts';

/** What the program lets in. */
export interface DecapRules {
  /** Outer sources: the balancers'. */
  readonly sources: readonly IpPrefix[];
  /** Outer destinations: this machine's own addresses. */
  readonly addresses: readonly IpAddress[];
  /** Destinations within. */
  readonly vips: readonly IpAddress[];
  /** UDP port of GUE. */
  readonly guePort: number;
}

const reasonsMap = 'decap_reasons';

/** Attaches the program, or replaces the one of before without losing a packet. Throws OperatorError, SyscallError. */
export async function attachDecap(
  folder: string,
  rules: DecapRules,
  on: DataPlaneInterface,
  mode: XdpMode | 'auto',
  logger: Logger,
): Promise<XdpMode> {
  ensureBpfFolder(folder);
  const object = libbpf.openObject(objectPath('decap'));
  try {
    const counters = libbpf.openPinned(pinPath(folder, reasonsMap));
    if (counters !== undefined) libbpf.reuseMap(object, reasonsMap, counters);
    fillDecap(object, rules);
    if (counters === undefined) libbpf.pin(libbpf.mapFd(object, reasonsMap), pinPath(folder, reasonsMap));
    else closeFd(counters);
    return await attachXdpProgram(
      folder,
      libbpf.programFd(object, 'decap'),
      { on, linkPin: pinName.xdpLink },
      mode,
      logger,
    );
  } finally {
    libbpf.closeObject(object);
  }
}

/** Loads an opened object with these rules; gives how to read its counters. Throws VerifierError, SyscallError. */
export function fillDecap(object: libbpf.BpfObject, rules: DecapRules): () => Record<string, number> {
  const types = objectTypes('decap');
  const port = types.sections.get('.rodata')?.get('gue_port');
  if (port === undefined) throw new InvariantError('the object has no variable gue_port');
  libbpf.setData(object, '.rodata', port.offset, Uint8Array.of(rules.guePort >> 8, rules.guePort & 0xff));
  libbpf.loadObject(object, 'decap');
  const source = structLayout(types, 'decap_source');
  for (const { address, length } of rules.sources) {
    const prefixLength = length + (address.family === 4 ? 96 : 0);
    const key = encodeStruct(source, { prefix_length: prefixLength, address: toMappedBytes(address) });
    libbpf.updateElement(libbpf.mapFd(object, 'decap_sources'), key, new Uint8Array(4));
  }
  const kinds = [
    ['DECAP_OWN', rules.addresses],
    ['DECAP_VIP', rules.vips],
  ] as const;
  for (const [kind, addresses] of kinds) {
    const value = new Uint8Array(Uint32Array.of(enumConstant(types, 'decap_kind', kind)).buffer);
    for (const address of addresses) {
      libbpf.updateElement(libbpf.mapFd(object, 'decap_addresses'), toMappedBytes(address), value);
    }
  }
  return () => readReasons(libbpf.mapFd(object, reasonsMap));
}

/** Ends it and removes its pins; false when there was none. */
export function detachDecap(folder: string): boolean {
  const link = libbpf.openPinned(pinPath(folder, pinName.xdpLink));
  if (link !== undefined) {
    libbpf.detachLink(link);
    closeFd(link);
  }
  removeBpfFolder(folder);
  return link !== undefined;
}

/** Where it is attached, and packets by what became of them. Throws OperatorError when it is not. */
export function readDecap(folder: string): { interfaceIndex: number; packets: Record<string, number> } {
  const interfaceIndex = pinnedXdpInterface(folder);
  const counters = libbpf.openPinned(pinPath(folder, reasonsMap));
  if (interfaceIndex === undefined || counters === undefined) {
    throw new OperatorError('no decapsulating program is attached (attach one: l4ctl backend setup)');
  }
  const packets = readReasons(counters);
  closeFd(counters);
  return { interfaceIndex, packets };
}

function readReasons(counters: number): Record<string, number> {
  const cpus = libbpf.possibleCpus();
  const packets: Record<string, number> = {};
  for (const [name, index] of objectTypes('decap').enums.get('decap_reason') ?? []) {
    if (name === 'DECAP_REASON_COUNT') continue;
    const values = new BigUint64Array(cpus);
    const key = new Uint8Array(Uint32Array.of(index).buffer);
    libbpf.lookupElement(counters, key, new Uint8Array(values.buffer));
    packets[name.toLowerCase()] = Number(values.reduce((sum, one) => sum + one, 0n));
  }
  return packets;
}
