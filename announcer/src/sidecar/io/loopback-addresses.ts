import { SyscallError } from '@l4d/kit/errors.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';

/** Mark of the addresses that we have set (IFA_PROTO), unassigned in iproute2's tables, as of our routes. */
const ourProtocol = 108;

/** VIPs on lo. */
export interface LoopbackAddresses {
  /** Puts them there; those that are there already, by whomever, stay as they are. Rejects with SyscallError. */
  add(addresses: readonly IpAddress[]): Promise<void>;
  /** Takes those away that we have set, also in an earlier life; others stay. Rejects with SyscallError. */
  remove(addresses: readonly IpAddress[]): Promise<void>;
  /** All that we have set and that are still there. Rejects with SyscallError. */
  ours(): Promise<IpAddress[]>;
  /** Which of these are on lo, whoever has set them. Rejects with SyscallError. */
  present(addresses: readonly IpAddress[]): Promise<boolean>;
}

/** The addresses of lo in this network namespace. */
export function createLoopbackAddresses(): LoopbackAddresses {
  const onLoopback = async () => {
    const index = interfaceIndex('lo');
    const rtnetlink = openRtnetlink();
    return { index, rtnetlink, all: await rtnetlink.addresses(index) };
  };
  const specOf = (interfaceIndex: number, address: IpAddress) => ({
    interfaceIndex,
    address,
    prefixLength: address.bytes.length * 8,
    protocol: ourProtocol,
  });
  return {
    async add(addresses) {
      const { index, rtnetlink } = await onLoopback();
      try {
        for (const address of addresses) await rtnetlink.addAddress(specOf(index, address));
      } catch (error) {
        throw explained(error);
      } finally {
        rtnetlink.close();
      }
    },
    async remove(addresses) {
      const wanted = new Set(addresses.map(formatIpAddress));
      const { index, rtnetlink, all } = await onLoopback();
      try {
        for (const { address, protocol } of all) {
          if (protocol !== ourProtocol || !wanted.has(formatIpAddress(address))) continue;
          await rtnetlink.removeAddress(specOf(index, address));
        }
      } finally {
        rtnetlink.close();
      }
    },
    async ours() {
      const { rtnetlink, all } = await onLoopback();
      rtnetlink.close();
      return all.filter(({ protocol }) => protocol === ourProtocol).map(({ address }) => address);
    },
    async present(addresses) {
      const { rtnetlink, all } = await onLoopback();
      rtnetlink.close();
      const there = new Set(all.map(({ address }) => formatIpAddress(address)));
      return addresses.every((address) => there.has(formatIpAddress(address)));
    },
  };
}

function explained(error: unknown): unknown {
  if (!(error instanceof SyscallError) || error.code !== 'EPERM') return error;
  const hint = 'setting addresses needs CAP_NET_ADMIN (or "loopback: none", and the addresses set by others)';
  return new SyscallError(error.call, error.errno, hint);
}
