/** What interfaces can do with XDP, as the kernel tells by generic netlink (family "netdev", since Linux 6.3). */
import { SyscallError } from '../errors.ts';
import { constant } from '../ffi/libc.ts';
import { decodeAttributes, encodePayload, encodeU32, viewOf } from './codec.ts';
import { openNetlinkSocket } from './socket.ts';

/** NETLINK_GENERIC of linux/netlink.h. */
const genericProtocol = 16;
/** struct genlmsghdr: command, version, reserved. */
const headerBytes = 4;
/** linux/genetlink.h. */
const control = { family: 0x10, getFamily: 3, familyId: 1, familyName: 2 } as const;
/** linux/netdev.h. */
const netdev = { name: 'netdev', deviceGet: 1, interfaceIndex: 1, xdpFeatures: 3 } as const;
/** NETDEV_XDP_ACT_NDO_XMIT: the interface sends frames that XDP redirects to it. */
const canSendBit = 4;

/** Asks the kernel about interfaces of the network namespace in which it was opened. */
export interface XdpFeatureReader {
  /**
   * Whether an interface sends what XDP redirects to it; undefined when the kernel does not tell, or there is no such
   * interface. Rejects with SyscallError.
   */
  canSend(interfaceIndex: number): Promise<boolean | undefined>;
  close(): void;
}

/** Opens a socket for it. Throws SyscallError. */
export function openXdpFeatureReader(): XdpFeatureReader {
  const socket = openNetlinkSocket({ protocol: genericProtocol });
  let family: Promise<number | undefined> | undefined;

  async function ask(
    call: string,
    type: number,
    command: number,
    attribute: readonly [number, Uint8Array],
  ): Promise<ReadonlyMap<number, Uint8Array> | undefined> {
    const header = Uint8Array.of(command, 1, 0, 0);
    try {
      const [answer] = await socket.request({ call, type, payload: encodePayload(header, [attribute]) });
      const attributes = answer === undefined ? undefined : decodeAttributes(answer.payload, headerBytes);
      return attributes?.ok === true ? attributes.value : undefined;
    } catch (error) {
      const missing: readonly number[] = [constant.ENOENT, constant.ENODEV];
      if (error instanceof SyscallError && missing.includes(error.errno)) return undefined;
      throw error;
    }
  }

  async function findFamily(): Promise<number | undefined> {
    const name = Uint8Array.from([...Buffer.from(netdev.name), 0]);
    const found = await ask('CTRL_CMD_GETFAMILY', control.family, control.getFamily, [
      control.familyName,
      name,
    ]);
    const id = found?.get(control.familyId);
    return id === undefined || id.length < 2 ? undefined : viewOf(id).getUint16(0, true);
  }

  return {
    async canSend(interfaceIndex) {
      family ??= findFamily();
      const type = await family;
      if (type === undefined) return undefined;
      const found = await ask('NETDEV_CMD_DEV_GET', type, netdev.deviceGet, [
        netdev.interfaceIndex,
        encodeU32(interfaceIndex),
      ]);
      const features = found?.get(netdev.xdpFeatures);
      // The bit is in the lowest of eight bytes.
      return features === undefined || features.length < 8
        ? undefined
        : ((features[0] ?? 0) & canSendBit) !== 0;
    },
    close: () => socket.close(),
  };
}
