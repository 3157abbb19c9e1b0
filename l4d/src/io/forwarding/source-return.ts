/** The program that finds what backends answer to their clients' own addresses (bpf/source_return.bpf.c), and its maps. */
import { InvariantError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpAddress, toMappedBytes } from '@l4d/kit/ip-address.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import { pinPath, unpin } from './bpf-folder.ts';
import { objectPath, objectTypes, structLayout } from './bpf-objects.ts';
import { ipProtocol } from './map-codec.ts';

/** Where a backend that is spoken to from its clients' addresses listens. */
export interface SourcedService {
  readonly address: IpAddress;
  readonly port: number;
}

const maps = ['source_backends', 'source_return_stats'] as const;

/** The program, loaded, with maps that outlive this process. */
export interface SourceReturnProgram {
  /** Makes the kernel's set of backends equal to these. Throws SyscallError. */
  replace(services: readonly SourcedService[]): void;
  /** Attaches it to what comes in by an interface, unless it is there. Throws SyscallError. */
  attach(interfaceIndex: number): void;
  /** Packets by what became of them, by the names of `enum return_result` in lower case without their prefix. */
  read(): Record<string, number>;
  close(): void;
}

/** Text that is the same for the same place. */
export function serviceText({ address, port }: SourcedService): string {
  return `${formatIpAddress(address)} ${port}`;
}

/** Loads the program with the maps of an earlier run, or makes and pins them. Throws VerifierError, SyscallError. */
export function openSourceReturn(bpfFolder: string): SourceReturnProgram {
  const object = libbpf.openObject(objectPath('source_return'));
  try {
    for (const name of maps) {
      const pinned = libbpf.openPinned(pinPath(bpfFolder, name));
      if (pinned === undefined) continue;
      libbpf.reuseMap(object, name, pinned);
      closeFd(pinned);
    }
    libbpf.loadObject(object, 'source_return');
    for (const name of maps) {
      const path = pinPath(bpfFolder, name);
      const pinned = libbpf.openPinned(path);
      if (pinned === undefined) libbpf.pin(libbpf.mapFd(object, name), path);
      else closeFd(pinned);
    }
  } catch (error) {
    libbpf.closeObject(object);
    throw error;
  }
  const program = libbpf.programFd(object, 'source_return');
  const { id } = libbpf.programInfo(program);
  const backends = libbpf.mapFd(object, 'source_backends');
  const layout = structLayout(objectTypes('source_return'), 'vip_key');
  return {
    replace(services) {
      const wanted = new Map<string, Uint8Array>();
      for (const { address, port } of services) {
        const fields = { address: toMappedBytes(address), port, protocol: ipProtocol.tcp };
        const key = encodeStruct(layout, fields);
        wanted.set(Buffer.from(key).toString('hex'), key);
      }
      for (const key of libbpf.mapKeys(backends, layout.size)) {
        if (!wanted.delete(Buffer.from(key).toString('hex'))) libbpf.deleteElement(backends, key);
      }
      for (const key of wanted.values()) libbpf.updateElement(backends, key, new Uint8Array(4));
    },
    attach(interfaceIndex) {
      if (libbpf.tcIngressProgramId(interfaceIndex) !== id) libbpf.attachTcIngress(program, interfaceIndex);
    },
    read: () => readResults(libbpf.mapFd(object, 'source_return_stats')),
    close: () => libbpf.closeObject(object),
  };
}

/** Takes the program off an interface. Throws SyscallError. */
export function detachSourceReturn(interfaceIndex: number): void {
  libbpf.detachTcIngress(interfaceIndex);
}

/** Forgets its maps. */
export function unpinSourceReturn(bpfFolder: string): void {
  for (const name of maps) unpin(bpfFolder, name);
}

/** Whether an earlier run has left maps of it. */
export function hasSourceReturnPins(bpfFolder: string): boolean {
  const fd = libbpf.openPinned(pinPath(bpfFolder, maps[0]));
  if (fd === undefined) return false;
  closeFd(fd);
  return true;
}

function readResults(stats: number): Record<string, number> {
  const results = objectTypes('source_return').enums.get('return_result');
  if (results === undefined) throw new InvariantError('the object has no enum return_result');
  const counts: Record<string, number> = {};
  const value = new Uint8Array(8 * libbpf.possibleCpus());
  for (const [name, index] of results) {
    if (name === 'RETURN_RESULTS') continue;
    libbpf.lookupElement(stats, new Uint8Array(Uint32Array.of(index).buffer), value);
    const count = new BigUint64Array(value.buffer).reduce((sum, one) => sum + one, 0n);
    counts[name.toLowerCase().replace('return_', '')] = Number(count);
  }
  return counts;
}
