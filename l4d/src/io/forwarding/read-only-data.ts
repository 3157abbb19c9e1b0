import type { ObjectTypes } from '@l4d/kit/btf.ts';
import { InvariantError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { jiffyNanoseconds } from '@l4d/kit/ffi/libc.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';

/** What a program takes as constant. */
export interface ReadOnlyData {
  /** Of the interface that it is attached to. */
  readonly mac: MacAddress;
  /** That interface's number, as flags of backends have it. */
  readonly egressFlags: number;
  /** Whether each CPU has a flow table of its own. */
  readonly tableByCpu: boolean;
  /** The kernel's tick in nanoseconds; 0: the program asks a helper for the time, which takes longer. */
  readonly tick?: number;
}

/** Tells the program, before it is loaded, what it takes as constant. Throws InvariantError. */
export function setReadOnlyData(
  object: libbpf.BpfObject,
  types: ObjectTypes,
  { mac, egressFlags, tableByCpu, tick = jiffyNanoseconds() }: ReadOnlyData,
): void {
  setVariables(object, types, {
    own_mac: mac,
    own_egress: new Uint8Array(Uint16Array.of(egressFlags).buffer),
    has_table_by_cpu: new Uint8Array(Uint32Array.of(tableByCpu ? 1 : 0).buffer),
  });
  setTick(object, types, tick);
}

/** The kernel's tick alone, for a program that needs no more. Throws InvariantError. */
export function setTick(
  object: libbpf.BpfObject,
  types: ObjectTypes,
  tick: number = jiffyNanoseconds(),
): void {
  setVariables(object, types, { jiffy_nanoseconds: new Uint8Array(Uint32Array.of(tick).buffer) });
}

function setVariables(
  object: libbpf.BpfObject,
  types: ObjectTypes,
  values: Readonly<Record<string, Uint8Array>>,
): void {
  for (const [name, bytes] of Object.entries(values)) {
    const variable = types.sections.get('.rodata')?.get(name);
    if (variable?.size !== bytes.length) {
      throw new InvariantError(`the object has no read-only variable ${name} of ${bytes.length} bytes`);
    }
    libbpf.setData(object, '.rodata', variable.offset, bytes);
  }
}
