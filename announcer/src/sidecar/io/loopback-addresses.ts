import { SyscallError } from '@l4d/kit/errors.ts';
import { interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { formatIpAddress, type IpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { decodeAddress } from '@l4d/kit/netlink/codec-address.ts';
import { eventGroup, messageType } from '@l4d/kit/netlink/constants.ts';
import { watchNetlinkEvents } from '@l4d/kit/netlink/events.ts';
import { openRtnetlink, type Rtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import type { AddressRecord } from './address-record.ts';

/** Mark of the addresses that sidecars have set (IFA_PROTO), unassigned in iproute2's tables, as of our routes. */
const ourProtocol = 108;
/** Set by hand; and on kernels before 5.18, which keep no mark, all. */
const noProtocol = 0;

/** VIPs on lo. Everything rejects with SyscallError. */
export interface LoopbackAddresses {
  /** Puts it there; one that is there already, by whomever, stays as it is. */
  add(address: IpAddress): Promise<void>;
  /** Takes it away when this sidecar has set it, also in an earlier life. */
  remove(address: IpAddress): Promise<void>;
  /**
   * Takes these to be ours to set from now on, but for those that somebody else has set, and tells what this sidecar
   * has set that is not among them.
   */
  claim(addresses: readonly IpAddress[]): Promise<IpAddress[]>;
  /** From now on it is somebody else's, as it is. */
  release(address: IpAddress): Promise<void>;
  /** Which of these are on lo, whoever has set them. */
  present(addresses: readonly IpAddress[]): Promise<boolean[]>;
  /** Calls back when an address may have been taken off lo, or when others of this host may have changed. Throws SyscallError. */
  watch(onTaken: () => void, onOthers: () => void): () => void;
}

/** The addresses of lo in this network namespace; the record says which of them are ours. */
export function createLoopbackAddresses(record: AddressRecord): LoopbackAddresses {
  let last: Promise<unknown> = Promise.resolve();

  /** One after the other: what is there, what is kept and what is done are of one moment. */
  function onLoopback<T>(work: (index: number, rtnetlink: Rtnetlink) => Promise<T>): Promise<T> {
    const next = last.then(async () => {
      const rtnetlink = openRtnetlink();
      try {
        return await work(interfaceIndex('lo'), rtnetlink);
      } catch (error) {
        throw explained(error);
      } finally {
        rtnetlink.close();
      }
    });
    last = next.catch(() => undefined);
    return next;
  }

  const specOf = (interfaceIndex: number, address: IpAddress) => ({
    interfaceIndex,
    address,
    prefixLength: address.bytes.length * 8,
    protocol: ourProtocol,
  });

  return {
    add: (address) =>
      onLoopback(async (index, rtnetlink) => {
        const text = formatIpAddress(address);
        if (!record.has(text)) {
          const all = await rtnetlink.addresses(index);
          if (all.some((one) => formatIpAddress(one.address) === text)) return;
          // Kept before it is done: a crash in between leaves nothing that nobody takes away.
          await record.change([text], []);
        }
        await rtnetlink.addAddress(specOf(index, address));
      }),
    remove: (address) =>
      onLoopback(async (index, rtnetlink) => {
        const text = formatIpAddress(address);
        if (!record.has(text)) return;
        for (const { address: found, protocol } of await rtnetlink.addresses(index)) {
          const mayBeOurs = protocol === ourProtocol || protocol === noProtocol;
          if (mayBeOurs && formatIpAddress(found) === text)
            await rtnetlink.removeAddress(specOf(index, found));
        }
        await record.change([], [text]);
      }),
    claim: (addresses) =>
      onLoopback(async (index, rtnetlink) => {
        const wanted = new Set(addresses.map(formatIpAddress));
        const there = new Set((await rtnetlink.addresses(index)).map((one) => formatIpAddress(one.address)));
        await record.change(
          [...wanted].filter((text) => !there.has(text) && !record.has(text)),
          [],
        );
        return record
          .all()
          .filter((text) => !wanted.has(text))
          .map(ipAddress);
      }),
    release: (address) => onLoopback(() => record.change([], [formatIpAddress(address)])),
    present: (addresses) =>
      onLoopback(async (index, rtnetlink) => {
        const there = new Set((await rtnetlink.addresses(index)).map((one) => formatIpAddress(one.address)));
        return addresses.map((address) => there.has(formatIpAddress(address)));
      }),
    watch(onTaken, onOthers) {
      const index = interfaceIndex('lo');
      return watchNetlinkEvents({
        groups: [eventGroup.IPV4_ADDRESS, eventGroup.IPV6_ADDRESS],
        onMessage({ type, payload }) {
          const changed = decodeAddress(payload);
          if (!changed.ok) return;
          if (changed.value.interfaceIndex !== index) onOthers();
          else if (type === messageType.DELADDR) onTaken();
        },
        onLost() {
          onTaken();
          onOthers();
        },
      });
    },
  };
}

function explained(error: unknown): unknown {
  if (!(error instanceof SyscallError) || error.code !== 'EPERM') return error;
  const hint = 'setting addresses needs CAP_NET_ADMIN (or "loopback: none", and the addresses set by others)';
  return new SyscallError(error.call, error.errno, hint);
}
