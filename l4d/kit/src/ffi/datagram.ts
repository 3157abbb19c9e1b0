import koffi from 'koffi';
import { SyscallError } from '../errors.ts';
import { fromMappedBytes, type IpAddress, ipAddressFromBytes } from '../ip-address.ts';
import { constant } from './libc.ts';

const libc = koffi.load(null);
const recvmsg = libc.func('long recvmsg(int fd, void *message, int flags)');

/** Ancillary data of <linux/in.h> and <linux/in6.h>: the TTL or hop limit of what is received. */
export const ttlOption = { IP_RECVTTL: 12, IPV6_RECVHOPLIMIT: 51, IPV6_UNICAST_HOPS: 16 } as const;

/** Ancillary data of <linux/in6.h>: the address that an IPv6 packet was sent to. */
export const IPV6_RECVPKTINFO = 49;
const ipTtl = 2;
const ipv6HopLimit = 52;
const ipv6PacketInfo = 50;

/** A datagram with what its headers said. */
export interface Datagram {
  /** Valid until the next call. */
  readonly bytes: Uint8Array;
  readonly source: IpAddress;
  readonly sourcePort: number;
  /** Index of the interface for a link-local source; else 0. */
  readonly scopeId: number;
  /** TTL or hop limit; undefined when the socket does not ask for it. */
  readonly ttl: number | undefined;
  /** Where it was sent to; undefined when the socket does not ask for it (IPV6_RECVPKTINFO). */
  readonly destination: IpAddress | undefined;
}

/** struct msghdr 56 bytes, then struct iovec 16, name 32, control 128, payload. All 64-bit Linux agree on these. */
const layout = { iovec: 56, name: 80, control: 112, payload: 240 } as const;
const controlBytes = layout.payload - layout.control;

/** Reads datagrams with their TTL by recvmsg(2) into memory of its own; make one and keep it. */
export interface DatagramReader {
  /** The next datagram, cut to `maxBytes`; undefined when none is there (EAGAIN). Throws SyscallError. */
  read(fd: number): Datagram | undefined;
}

/** A reader for datagrams of at most `maxBytes` octets. Its memory lives as long as the process. */
export function createDatagramReader(maxBytes: number): DatagramReader {
  const address = koffi.alloc('uint8_t', layout.payload + maxBytes) as bigint;
  const memory = new Uint8Array(koffi.view(address, layout.payload + maxBytes));
  const view = new DataView(memory.buffer);
  view.setBigUint64(0, address + BigInt(layout.name), true);
  view.setBigUint64(16, address + BigInt(layout.iovec), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, address + BigInt(layout.control), true);
  view.setBigUint64(layout.iovec, address + BigInt(layout.payload), true);
  view.setBigUint64(layout.iovec + 8, BigInt(maxBytes), true);

  /** Where the data of that kind begin; undefined when there are none. */
  function ancillary(wantedLevel: number, wantedType: number): number | undefined {
    const end = layout.control + Math.min(controlBytes, Number(view.getBigUint64(40, true)));
    for (let at: number = layout.control; at + 20 <= end; ) {
      const length = Number(view.getBigUint64(at, true));
      if (view.getInt32(at + 8, true) === wantedLevel && view.getInt32(at + 12, true) === wantedType) {
        return at + 16;
      }
      if (length < 16) return undefined;
      at += (length + 7) & ~7;
    }
    return undefined;
  }

  function ttl(): number | undefined {
    const at = ancillary(constant.SOL_IP, ipTtl) ?? ancillary(constant.IPPROTO_IPV6, ipv6HopLimit);
    return at === undefined ? undefined : view.getInt32(at, true);
  }

  function destination(): IpAddress | undefined {
    const at = ancillary(constant.IPPROTO_IPV6, ipv6PacketInfo);
    return at === undefined ? undefined : ipAddressFromBytes(memory.subarray(at, at + 16));
  }

  return {
    read(fd) {
      view.setUint32(8, 32, true);
      view.setBigUint64(40, BigInt(controlBytes), true);
      view.setInt32(48, 0, true);
      const count = Number(recvmsg(fd, address, constant.MSG_DONTWAIT));
      if (count < 0) {
        const errno = koffi.errno();
        if (errno === constant.EAGAIN) return undefined;
        throw new SyscallError('recvmsg', errno);
      }
      const family = view.getUint16(layout.name, true);
      const source =
        family === constant.AF_INET
          ? ipAddressFromBytes(memory.slice(layout.name + 4, layout.name + 8))
          : fromMappedBytes(memory.slice(layout.name + 8, layout.name + 24));
      return {
        bytes: memory.subarray(layout.payload, layout.payload + count),
        source,
        sourcePort: view.getUint16(layout.name + 2),
        scopeId: family === constant.AF_INET ? 0 : view.getUint32(layout.name + 24, true),
        ttl: ttl(),
        destination: destination(),
      };
    },
  };
}
