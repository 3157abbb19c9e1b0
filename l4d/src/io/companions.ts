import { join } from 'node:path';
import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import type { AnnouncerStatus } from '@l4d/announcer/core/api-status.ts';
import { announcerClient } from '@l4d/announcer/io/client.ts';
import type { Clock } from '@l4d/kit/clock.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { ProxyDesiredInput, ProxyStatus } from '@l4d/kit/proxy-api.ts';
import { createProxyClient } from '@l4d/kit/proxy-client.ts';
import { sameDesiredInput } from '../core/prefix-delta.ts';
import { announcerTeller } from './announcer-teller.ts';
import { announcerWatch } from './announcer-watch.ts';
import { createCompanion } from './companion.ts';
import { createFollower, type Follower } from './follower.ts';

/** The announcer, as the reconciler sees it. */
export type AnnouncerFollower = Follower<DesiredInput, AnnouncerStatus>;

/** The proxy, as the reconciler sees it. */
export type ProxyFollower = Follower<ProxyDesiredInput, ProxyStatus>;

/** Folders and helpers of the companions. */
export interface CompanionsOptions {
  readonly runDir: string;
  readonly stateDir: string;
  readonly bpfDir: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onChange: () => void;
  /** Called when the announcer no longer holds what it was told. */
  readonly onOverruled: () => void;
}

/** Follows the BGP speaker, starting it when it does not run. */
export function followAnnouncer(options: CompanionsOptions): AnnouncerFollower {
  const socketPath = join(options.runDir, 'announcer.sock');
  const client = announcerClient(socketPath);
  const teller = announcerTeller(client);
  const watch = announcerWatch(client);
  return createFollower<DesiredInput, AnnouncerStatus>({
    ...options,
    name: 'announcer',
    companion: createCompanion({
      ...options,
      name: 'announcer',
      socketPath,
      args: ['--run-dir', options.runDir],
      logPath: join(options.stateDir, 'log', 'announcer.log'),
    }),
    putDesired: teller.tell,
    isSame: sameDesiredInput,
    release: () => client.shutdown(),
    async status() {
      // Each look at it is a sign of life too: without one it withdraws after its dead-man time.
      await client.heartbeat();
      return watch.look();
    },
    // It has given us up (dead-man time), or an operator has withdrawn something.
    isOverruled: (status) => status.deadMan || teller.isBehind(status.revision),
    onOverruled() {
      teller.forget();
      options.onOverruled();
    },
  });
}

/** Follows the proxy, starting it when it does not run. */
export function followProxy(options: CompanionsOptions): ProxyFollower {
  const client = createProxyClient(options.runDir);
  return createFollower<ProxyDesiredInput, ProxyStatus>({
    ...options,
    name: 'proxy',
    companion: createCompanion({
      ...options,
      name: 'proxy',
      socketPath: join(options.runDir, 'proxy.sock'),
      args: ['--run-dir', options.runDir, '--bpf-dir', options.bpfDir],
      logPath: join(options.stateDir, 'log', 'proxy.log'),
    }),
    putDesired: (desired) => client.putDesired(desired),
    release: () => client.putDesired({ listeners: [] }),
    status: () => client.status(),
    digest: proxyDigest,
  });
}

/**
 * What of the proxy's status verdicts follow from: without a worker that serves, or a certificate to show, VIPs are not
 * announced. Workers may come long after the supervisor has answered.
 */
export function proxyDigest({
  registered,
  listeners,
}: Pick<ProxyStatus, 'registered' | 'listeners'>): string {
  const refusing = listeners.flatMap(({ name, tls }) =>
    tls?.serving === false ? [`${name}: ${tls.problem}`] : [],
  );
  return [registered ? 'serving' : 'not serving', ...refusing].join('\n');
}
