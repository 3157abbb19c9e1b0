/** UDP sockets of BFD: RFC 5881 section 4 (single hop, port 3784) and RFC 5883 section 4 (multihop, 4784). */
import type { Clock } from '@l4d/kit/clock.ts';
import { SyscallError } from '@l4d/kit/errors.ts';
import { createDatagramReader, type Datagram, ttlOption } from '@l4d/kit/ffi/datagram.ts';
import {
  bind,
  closeFd,
  constant,
  interfaceIndex,
  sendTo,
  setSocketOptionInt,
  socket,
} from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { type IpAddress, type IpFamily, ipAddress } from '@l4d/kit/ip-address.ts';
import type { ScopedAddress } from '../../core/peer-address.ts';
import { drainInTurns } from './drain.ts';
import { createFloodGuard, type Expected, type FloodGuard } from './flood-guard.ts';

/** UDP ports that control packets go to. */
export const bfdPort = { singleHop: 3784, multihop: 4784 } as const;

/** RFC 5881 section 4: "The source port MUST be in the range 49152 through 65535." */
const firstSourcePort = 49152;
const sourcePorts = 65536 - firstSourcePort;

/** RFC 5881 section 5: what is sent has a TTL or hop limit of 255. */
const sentTtl = 255;

/** IP precedence "Internetwork Control" (CS6), as for the routing protocol that BFD serves. */
const internetworkControl = 0xc0;

/** Octets of a receiver's queue, some 1,300 datagrams: the packets of many sessions while this process waits. */
const queueBytes = 1 << 20;

/** Longest datagram of interest: a packet with any authentication section has 52 octets. */
const maxDatagramBytes = 256;

const any: Readonly<Record<IpFamily, IpAddress>> = { 4: ipAddress('0.0.0.0'), 6: ipAddress('::') };

const reader = createDatagramReader(maxDatagramBytes);

/** A socket that control packets arrive at. */
export interface BfdReceiver {
  /** Hands over all that has arrived. */
  drain(): void;
  /** Against floods. */
  readonly guard: FloodGuard;
  /** Reads no more; returns the socket, which stays open. */
  detach(): number;
  close(): void;
}

/** Listens on a port for one family. Throws SyscallError (EADDRINUSE: another BFD daemon is here). */
export function openReceivingSocket(family: IpFamily, port: number): number {
  const fd = openUdp(family);
  try {
    setSocketOptionInt(fd, constant.SOL_SOCKET, constant.SO_RCVBUF, queueBytes);
    if (family === 4) setSocketOptionInt(fd, constant.SOL_IP, ttlOption.IP_RECVTTL, 1);
    else {
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_V6ONLY, 1);
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, ttlOption.IPV6_RECVHOPLIMIT, 1);
    }
    bind(fd, encodeSockaddr(any[family], port));
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Reads a receiving socket, which it owns; `flood`: another has put its filter before it. */
export function createReceiver(
  fd: number,
  clock: Clock,
  onDatagram: (datagram: Datagram) => void,
  expected: Expected,
  flood = false,
): BfdReceiver {
  const guard = createFloodGuard(fd, clock, expected, flood);
  const drained = drainInTurns(fd, clock, () => {
    const datagram = reader.read(fd);
    if (datagram === undefined) return false;
    guard.count();
    onDatagram(datagram);
    return true;
  });
  return {
    guard,
    drain: drained.drain,
    detach() {
      guard.close();
      drained.close();
      return fd;
    },
    close() {
      guard.close();
      drained.close();
      closeFd(fd);
    },
  };
}

/** The socket that the packets of one session leave by. */
export interface BfdSender {
  readonly sourcePort: number;
  readonly descriptor: number;
  /** Whether the kernel took it; the error's name when not. */
  send(bytes: Uint8Array): string | undefined;
  close(): void;
}

/** Opens a sender with a source port of its own. `random` is in [0, 1). Throws SyscallError. */
export function openSender(
  to: ScopedAddress,
  port: number,
  localAddress: IpAddress | undefined,
  random: () => number,
): BfdSender {
  const { address: peer, zone } = to;
  const { family } = peer;
  const fd = openUdp(family);
  let sourcePort = 0;
  const scope = zone === undefined ? 0 : interfaceIndex(zone);
  try {
    if (family === 4) {
      setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TTL, sentTtl);
      setSocketOptionInt(fd, constant.SOL_IP, constant.IP_TOS, internetworkControl);
    } else {
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, ttlOption.IPV6_UNICAST_HOPS, sentTtl);
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_TCLASS, internetworkControl);
    }
    // "The source port number SHOULD be unique among all BFD sessions on the system."
    for (let attempt = 0; ; attempt++) {
      sourcePort = firstSourcePort + Math.floor(random() * sourcePorts);
      try {
        bind(
          fd,
          encodeSockaddr(localAddress ?? any[family], sourcePort, localAddress === undefined ? 0 : scope),
        );
        break;
      } catch (error) {
        if (!(error instanceof SyscallError) || error.code !== 'EADDRINUSE' || attempt >= 100) throw error;
      }
    }
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return createSender(to, port, { descriptor: fd, sourcePort });
}

/** Sends by a socket that `openSender` has made, here or in another process, and owns it. */
export function createSender(
  { address: peer, zone }: ScopedAddress,
  port: number,
  { descriptor: fd, sourcePort }: Pick<BfdSender, 'descriptor' | 'sourcePort'>,
): BfdSender {
  let scope = zone === undefined ? 0 : interfaceIndex(zone);
  let target = encodeSockaddr(peer, port, scope);
  return {
    descriptor: fd,
    sourcePort,
    send(bytes) {
      try {
        sendTo(fd, bytes, target);
        return undefined;
      } catch (error) {
        if (!(error instanceof SyscallError)) throw error;
        // An interface that was taken away and made again has another index.
        if (zone !== undefined && scope !== interfaceIndex(zone)) {
          scope = interfaceIndex(zone);
          target = encodeSockaddr(peer, port, scope);
        }
        // No route, no buffer, a firewall: the other side's detection time tells what it means.
        return error.code;
      }
    },
    close: () => closeFd(fd),
  };
}

function openUdp(family: IpFamily): number {
  const domain = family === 4 ? constant.AF_INET : constant.AF_INET6;
  return socket(domain, constant.SOCK_DGRAM | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
}
