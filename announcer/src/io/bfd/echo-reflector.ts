/** Loops echo packets of the neighbours back to them (RFC 5881 section 4), below the IP stack of this host. */
import { networkInterfaces } from 'node:os';
import type { Clock } from '@l4d/kit/clock.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { isFromGroup, openIpPacketSocket, useIpPacketSocket } from '@l4d/kit/ffi/ip-packet-socket.ts';
import { bind, closeFd, constant, setSocketOptionInt, socket } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { attachFilter } from '@l4d/kit/ffi/socket-filter.ts';
import { formatIpAddress, type IpAddress, type IpFamily, ipAddress } from '@l4d/kit/ip-address.ts';
import { returnEcho } from '../../core/bfd/echo.ts';
import { echoFilter, echoPort, nothingFilter } from '../../core/bfd/packet-filter.ts';
import { type Drained, drainInTurns } from './drain.ts';

/** Looping back for one family. */
export interface EchoReflector {
  /** Replaces the neighbours that it is done for. */
  setPeers(peers: readonly IpAddress[]): void;
  /** Reads no more; returns the sockets, which stay open. */
  detach(): EchoSockets;
  close(): void;
}

/** The sockets of a reflector. */
export interface EchoSockets {
  readonly packets: number;
  /** Absent where another has the port. */
  readonly silencer?: number;
}

/** An Ethernet frame's worth, jumbo frames too. */
const maxPacketBytes = 9216;

/** Own addresses are asked for again no more often, in milliseconds. */
const addressesKnownMs = 1000;

/**
 * Opens a reflector, or goes on with the sockets of another; `onReturned` is told the address of the neighbour. Throws
 * SyscallError (EPERM without CAP_NET_RAW).
 */
export function openEchoReflector(
  family: IpFamily,
  clock: Clock,
  onReturned: (peer: string) => void,
  sockets?: EchoSockets,
): EchoReflector {
  const packets =
    sockets === undefined
      ? openIpPacketSocket(family, maxPacketBytes, nothingFilter)
      : useIpPacketSocket(sockets.packets, maxPacketBytes);
  const silencer = sockets === undefined ? openSilencer(family) : sockets.silencer;
  let peers = new Set<string>();
  let own = new Set<string>();
  let ownAt = Number.NEGATIVE_INFINITY;

  function isOwn(address: IpAddress): boolean {
    const text = formatIpAddress(address);
    if (!own.has(text) && clock.now() - ownAt > addressesKnownMs) {
      ownAt = clock.now();
      own = new Set(
        Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map((one) => one.address)),
      );
    }
    return own.has(text);
  }

  const drained: Drained = drainInTurns(packets.fd, clock, () => {
    const packet = packets.read();
    if (packet === undefined) return false;
    // No host has such an address (IEEE 802.3 3.2.3); one packet must not become many.
    if (isFromGroup(packet.from)) return true;
    const returned = returnEcho(packet.bytes, (address) => peers.has(formatIpAddress(address)), isOwn);
    if (returned === undefined) return true;
    try {
      packets.send(returned.bytes, packet.from);
      onReturned(formatIpAddress(returned.peer));
    } catch (error) {
      // The link is going down, or its queue is full: the neighbour misses its echo, as it should.
      if (!(error instanceof SyscallError)) throw error;
    }
    return true;
  });
  return {
    setPeers(wanted) {
      peers = new Set(wanted.map(formatIpAddress));
      packets.filter(echoFilter(family, wanted));
    },
    detach() {
      drained.close();
      return { packets: packets.fd, ...(silencer === undefined ? {} : { silencer }) };
    },
    close() {
      drained.close();
      packets.close();
      if (silencer !== undefined) closeFd(silencer);
    },
  };
}

/** A UDP socket that takes nothing: without it the kernel says "port unreachable" to echo packets sent to us. */
function openSilencer(family: IpFamily): number | undefined {
  const fd = socket(
    family === 4 ? constant.AF_INET : constant.AF_INET6,
    constant.SOCK_DGRAM | constant.SOCK_CLOEXEC,
  );
  try {
    attachFilter(fd, nothingFilter);
    if (family === 6) setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_V6ONLY, 1);
    bind(fd, encodeSockaddr(ipAddress(family === 4 ? '0.0.0.0' : '::'), echoPort));
    return fd;
  } catch (error) {
    closeFd(fd);
    // Whoever has the port answers for it.
    if (error instanceof SyscallError) return undefined;
    throw error;
  }
}
