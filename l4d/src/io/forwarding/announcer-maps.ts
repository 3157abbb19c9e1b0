/** Maps beside those of the forwarding, which the announcer's VRRP process writes: each has a pin of its own. */
import type { ObjectTypes } from '@l4d/kit/btf.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd } from '@l4d/kit/ffi/libc.ts';
import { conversionOf, layoutOf, layoutText } from '../../core/forwarding/map-conversion.ts';
import { pinName, pinPath, renamePin, unpin } from './bpf-folder.ts';
import { copyMap, layoutOfMap } from './map-migration.ts';

const announcerMaps = [pinName.virtualMacs, pinName.neighbours, pinName.neighbourOwners] as const;

/**
 * Has the object use those that are pinned, as far as they have the layout that it declares. To be called before it is
 * loaded; what it returns, afterwards: that pins those which were missing or had another layout, filled with what they
 * held. Their writer follows the pin. Both throw SyscallError.
 */
export function useAnnouncerMaps(
  bpfFolder: string,
  object: libbpf.BpfObject,
  types: ObjectTypes,
): () => void {
  const others = announcerMaps.flatMap((name) => {
    const pinned = libbpf.openPinned(pinPath(bpfFolder, name));
    const shape = types.maps.get(name);
    const declared = shape === undefined ? undefined : layoutOf(name, shape, types.enums);
    const held = pinned === undefined ? undefined : layoutOfMap(name, pinned);
    const isSame = held === undefined || declared === undefined || layoutText(held) === layoutText(declared);
    if (pinned === undefined || !isSame) {
      const conversion =
        held === undefined || declared === undefined ? undefined : conversionOf(name, held, declared);
      return [{ name, pinned, conversion }];
    }
    libbpf.reuseMap(object, name, pinned);
    closeFd(pinned);
    return [];
  });
  return () => {
    for (const { name, pinned, conversion } of others) {
      const made = libbpf.mapFd(object, name);
      if (pinned !== undefined) {
        if (conversion !== undefined) copyMap(pinned, made, conversion);
        closeFd(pinned);
      }
      // There is always one by that name.
      const beside = `${name}_new`;
      unpin(bpfFolder, beside);
      libbpf.pin(made, pinPath(bpfFolder, beside));
      renamePin(bpfFolder, beside, name);
    }
  };
}
