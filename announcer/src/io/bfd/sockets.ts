/** UDP sockets of BFD: RFC 5881 section 4 (single hop, port 3784) and RFC 5883 section 4 (multihop, 4784). */
import { SyscallError } from '@l4d/kit/errors.ts';
import { createDatagramReader, type Datagram, ttlOption } from '@l4d/kit/ffi/datagram.ts';
import { bind, closeFd, constant, sendTo, setSocketOptionInt, socket } from '@l4d/kit/ffi/libc.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { type IpAddress, type IpFamily, ipAddress } from '@l4d/kit/ip-address.ts';

/** UDP ports that control packets go to. */
export const bfdPort = { singleHop: 3784, multihop: 4784 } as const;

/** RFC 5881 section 4: "The source port MUST be in the range 49152 through 65535." */
const firstSourcePort = 49152;
const sourcePorts = 65536 - firstSourcePort;

/** RFC 5881 section 5: what is sent has a TTL or hop limit of 255. */
const sentTtl = 255;

/** IP precedence "Internetwork Control" (CS6), as for the routing protocol that BFD serves. */
const internetworkControl = 0xc0;

/** Datagrams taken between two looks at the timers. */
const datagramsPerTurn = 64;

/** Longest datagram of interest: a packet with any authentication section has 52 octets. */
const maxDatagramBytes = 256;

const any: Readonly<Record<IpFamily, IpAddress>> = { 4: ipAddress('0.0.0.0'), 6: ipAddress('::') };

const reader = createDatagramReader(maxDatagramBytes);

/** A socket that control packets arrive at. */
export interface BfdReceiver {
  /** Hands over what has arrived, as far as a turn goes. */
  drain(): void;
  close(): void;
}

/** Listens on a port for one family. Throws SyscallError (EADDRINUSE: another BFD daemon is here). */
export function openReceiver(
  family: IpFamily,
  port: number,
  onDatagram: (datagram: Datagram) => void,
): BfdReceiver {
  const fd = openUdp(family);
  try {
    if (family === 4) setSocketOptionInt(fd, constant.SOL_IP, ttlOption.IP_RECVTTL, 1);
    else {
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, constant.IPV6_V6ONLY, 1);
      setSocketOptionInt(fd, constant.IPPROTO_IPV6, ttlOption.IPV6_RECVHOPLIMIT, 1);
    }
    bind(fd, encodeSockaddr(any[family], port));
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  const drain = () => {
    try {
      for (let i = 0; i < datagramsPerTurn; i++) {
        const datagram = reader.read(fd);
        if (datagram === undefined) return;
        onDatagram(datagram);
      }
    } catch (error) {
      // An error pending on the socket is taken off it by the read.
      if (!(error instanceof SyscallError)) throw error;
    }
  };
  const unwatch = watchSocket(fd, 'readable', drain);
  return {
    drain,
    close() {
      unwatch();
      closeFd(fd);
    },
  };
}

/** The socket that the packets of one session leave by. */
export interface BfdSender {
  readonly sourcePort: number;
  /** Whether the kernel took it; the error's name when not. */
  send(bytes: Uint8Array): string | undefined;
  close(): void;
}

/** Opens a sender with a source port of its own. `random` is in [0, 1). Throws SyscallError. */
export function openSender(
  peer: IpAddress,
  port: number,
  localAddress: IpAddress | undefined,
  random: () => number,
): BfdSender {
  const { family } = peer;
  const fd = openUdp(family);
  let sourcePort = 0;
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
        bind(fd, encodeSockaddr(localAddress ?? any[family], sourcePort));
        break;
      } catch (error) {
        if (!(error instanceof SyscallError) || error.code !== 'EADDRINUSE' || attempt >= 100) throw error;
      }
    }
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  const target = encodeSockaddr(peer, port);
  return {
    sourcePort,
    send(bytes) {
      try {
        sendTo(fd, bytes, target);
        return undefined;
      } catch (error) {
        // No route, no buffer, a firewall: the other side's detection time tells what it means.
        if (error instanceof SyscallError) return error.code;
        throw error;
      }
    },
    close: () => closeFd(fd),
  };
}

function openUdp(family: IpFamily): number {
  const domain = family === 4 ? constant.AF_INET : constant.AF_INET6;
  return socket(domain, constant.SOCK_DGRAM | constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC);
}
