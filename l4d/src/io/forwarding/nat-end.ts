import type { ObjectTypes } from '@l4d/kit/btf.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { enumConstant, objectPath, objectTypes } from './bpf-objects.ts';
import { type MapFds, objectMapName, pinnedMaps } from './forwarding-maps.ts';
import { setTick } from './read-only-data.ts';

/** The maps that the program ends connections in. */
export type NatMap = 'nat4_in' | 'nat4_out' | 'nat6_in' | 'nat6_out';

/** What a connection's entries held; without `out` there was none of what the client sends. */
export interface EndedEntries {
  readonly in: Uint8Array;
  readonly out: Uint8Array | undefined;
}

/** Ends connections of NAT that have expired, in the kernel: never one that has had a packet, or another one in its place. */
export interface NatEnder {
  /** Undefined: it lives, or is gone already. Throws SyscallError. */
  end(family: 4 | 6, key: Uint8Array): EndedEntries | undefined;
}

/** Loads the program (bpf/nat_end.bpf.c). Throws VerifierError, SyscallError. */
export function openNatEnder(fds: Pick<MapFds, NatMap>): NatEnder {
  const types: ObjectTypes = objectTypes('nat_end');
  const object = libbpf.openObject(objectPath('nat_end'));
  try {
    const present = libbpf.mapNames(object);
    const used: Readonly<Record<string, number>> = fds;
    for (const name of pinnedMaps) {
      const inObject = objectMapName(name);
      if (!present.includes(inObject)) continue;
      const fd = name.startsWith('nat') && name !== 'nat_settings' ? used[name] : undefined;
      if (fd !== undefined) libbpf.reuseMap(object, inObject, fd);
      // The others are named by headers alone.
      else libbpf.setMaxEntries(object, inObject, 1);
    }
    setTick(object, types);
    libbpf.loadObject(object, 'nat_end');
  } catch (error) {
    libbpf.closeObject(object);
    throw error;
  }
  const program = libbpf.programFd(object, 'l4d_nat_end');
  const at = (name: string) => enumConstant(types, 'nat_end_frame', `NAT_END_${name}`);
  const place = { family: at('IS_IPV6'), key: at('KEY'), in: at('IN'), out: at('OUT'), length: at('LENGTH') };
  const lives = enumConstant(types, 'nat_end_result', 'NAT_END_LIVES');
  const whole = enumConstant(types, 'nat_end_result', 'NAT_END_WHOLE');

  return {
    end(family, key) {
      const frame = new Uint8Array(place.length);
      frame[place.family] = family === 6 ? 1 : 0;
      frame.set(key, place.key);
      const { action, packet } = libbpf.testRun(program, frame);
      if (action === lives) return undefined;
      return {
        in: packet.subarray(place.in, place.out),
        out: action === whole ? packet.subarray(place.out, place.length) : undefined,
      };
    },
  };
}
