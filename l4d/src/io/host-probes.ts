import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { type Clock, systemClock, type Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { formatIpAddress, type IpAddress } from '@l4d/kit/ip-address.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import {
  answered,
  ask,
  encodeProbe,
  isAnswer,
  leastProbeBytes,
  newProbedHost,
  type ProbedHost,
  probeSaltBytes,
} from '../core/host-probe.ts';

/** A host that is to be asked. */
export interface ProbeTarget {
  readonly remote: IpAddress;
  /** This host's address that it knows. */
  readonly source: IpAddress;
  readonly port: number;
  /** Bytes of IP that its way should carry. */
  readonly mtu: number;
}

/** Options of probeHosts. */
export interface HostProbesOptions {
  readonly logger: Logger;
  /** A host came or went, or its way turned out to carry less or as much as it should. */
  readonly onChange: () => void;
  readonly clock?: Clock;
}

/** A running watch over hosts in other subnets. */
export interface HostProbes {
  /** Replaces the set; those that stay keep what is known. */
  setTargets(targets: readonly ProbeTarget[]): void;
  /** What is known of a host; one that is not asked is dead. */
  host(remote: IpAddress): ProbedHost;
  stop(): void;
}

/** Five without an answer are 2.5 s to 3 s. */
const askEvery = Milliseconds(500);
/** IP without options, and UDP. */
const headersOf = (family: 4 | 6) => (family === 4 ? 28 : 48);

interface Asked {
  readonly target: ProbeTarget;
  readonly salt: Uint8Array;
  host: ProbedHost;
}

/** Starts to ask, in the network namespace of the caller. */
export function probeHosts({ logger, onChange, clock = systemClock }: HostProbesOptions): HostProbes {
  const all = new Map<string, Asked>();
  /** By the address that they are bound to. */
  const sockets = new Map<string, Socket>();
  let timer: Timer | undefined;

  function socketOf(source: IpAddress): Socket {
    const text = formatIpAddress(source);
    const known = sockets.get(text);
    if (known !== undefined) return known;
    const socket = createSocket(source.family === 4 ? 'udp4' : 'udp6');
    sockets.set(text, socket);
    socket.on('message', (message, from) => take(message, from.address, from.port));
    socket.on('error', (error) => {
      logger.debug({ err: error, source: text }, 'hosts of other subnets cannot be asked');
      sockets.delete(text);
      socket.close();
    });
    socket.bind(0, text);
    socket.unref();
    return socket;
  }

  function take(message: Uint8Array, address: string, port: number): void {
    const one = all.get(address);
    if (one === undefined || one.target.port !== port || !isAnswer(message, one.salt, one.host)) return;
    put(one, answered(one.host, message.length > leastProbeBytes));
  }

  function put(one: Asked, host: ProbedHost): void {
    const before = one.host;
    one.host = host;
    if (before.isLive === host.isLive && before.fits === host.fits) return;
    const { isLive, fits } = host;
    logger.info(
      { address: formatIpAddress(one.target.remote), isLive, fits },
      'a host of another subnet changed',
    );
    onChange();
  }

  function tick(): void {
    timer = clock.after(askEvery, tick);
    for (const one of all.values()) {
      const { host, asksLarge } = ask(one.host);
      put(one, host);
      const { source, remote, port, mtu } = one.target;
      const sizes = [leastProbeBytes, ...(asksLarge ? [mtu - headersOf(source.family)] : [])];
      for (const bytes of sizes) {
        // What cannot be sent is not answered.
        socketOf(source).send(
          encodeProbe(one.salt, host.number, bytes),
          port,
          formatIpAddress(remote),
          () => undefined,
        );
      }
    }
  }

  return {
    setTargets(targets) {
      const wanted = new Set(targets.map(({ remote }) => formatIpAddress(remote)));
      for (const text of all.keys()) if (!wanted.has(text)) all.delete(text);
      for (const target of targets) {
        const text = formatIpAddress(target.remote);
        const known = all.get(text);
        if (known !== undefined && JSON.stringify(known.target) === JSON.stringify(target)) continue;
        all.set(text, {
          target,
          salt: known?.salt ?? randomBytes(probeSaltBytes),
          host: known?.host ?? newProbedHost,
        });
      }
      const sources = new Set(targets.map(({ source }) => formatIpAddress(source)));
      for (const [text, socket] of sockets) {
        if (sources.has(text)) continue;
        sockets.delete(text);
        socket.close();
      }
      if (all.size === 0) {
        timer?.cancel();
        timer = undefined;
      } else timer ??= clock.after(Milliseconds(0), tick);
    },
    host: (remote) => all.get(formatIpAddress(remote))?.host ?? newProbedHost,
    stop() {
      timer?.cancel();
      timer = undefined;
      all.clear();
      for (const socket of sockets.values()) socket.close();
      sockets.clear();
    },
  };
}
