import type { Clock } from '@l4d/kit/clock.ts';
import { formatIpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { maxProxyHosts, type ProxyFar } from '../core/forwarding/proxy-hosts.ts';
import { type FarWay, followFarHosts, type ProxyFarHosts } from './proxy-far-hosts.ts';

/** Nothing is asked. */
const stopped: Clock = { now: () => 0, after: () => ({ cancel: () => undefined }) };
const remotes = Array.from({ length: 40 }, (_, at) => `198.51.100.${at + 1}`);

function start(before: readonly { readonly remote: string; readonly number: number }[] = []) {
  let written: readonly ProxyFar[] = [];
  const hosts: ProxyFarHosts = followFarHosts(
    {
      writeProxyFar: (wanted) => {
        written = wanted;
      },
      readProxyFarNumbers: () => before.map(({ remote, number }) => ({ remote: ipAddress(remote), number })),
      setFeature: () => undefined,
    },
    stopped,
    pino({ level: 'silent' }),
    () => undefined,
  );
  return {
    follow: (...names: readonly (string | undefined)[]): Record<string, number> => {
      const ways = names.flatMap((remote): FarWay[] =>
        remote === undefined
          ? []
          : [
              {
                remote: ipAddress(remote),
                source: ipAddress('192.0.2.1'),
                nextHop: ipAddress('192.0.2.254'),
                port: 6080,
                mtu: 1500,
              },
            ],
      );
      hosts.follow(ways, () => undefined);
      return Object.fromEntries(written.map(({ remote, number }) => [formatIpAddress(remote), number]));
    },
  };
}

describe('numbers of hosts in other subnets', () => {
  it('stay with them, and are not those of hosts that the table of connections may still name', () => {
    const { follow } = start();
    const [a, b, c] = remotes as [string, string, string];
    expect(follow(a, b)).toEqual({ [a]: 0, [b]: 1 });
    expect(follow(b, c)).toEqual({ [b]: 1, [c]: 2 });
    expect(follow(c, a)).toEqual({ [c]: 2, [a]: 3 });
  });

  it('are kept over a restart', () => {
    const [a, b] = remotes as [string, string];
    expect(start([{ remote: a, number: 4 }]).follow(b)).toEqual({ [b]: 5 });
    expect(start([{ remote: a, number: 31 }]).follow(a, b)).toEqual({ [a]: 31, [b]: 0 });
  });

  it('are enough for as many as there may be, however often the list changes', () => {
    const { follow } = start();
    for (let at = 0; at + maxProxyHosts - 1 <= remotes.length; at++) {
      const numbers = Object.values(follow(...remotes.slice(at, at + maxProxyHosts - 1)));
      expect(new Set(numbers).size).toBe(maxProxyHosts - 1);
      expect(Math.max(...numbers)).toBeLessThan(maxProxyHosts);
    }
  });
});
