import { join } from 'node:path';
import type { Clock } from '@l4d/kit/clock.ts';
import { OperatorError } from '@l4d/kit/errors.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { ProxyDesiredInput, ProxyStatus } from '@l4d/kit/proxy-api.ts';
import { createProxyClient } from '@l4d/kit/proxy-client.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { announcerDesired } from '../core/announcement.ts';
import type { BgpView } from '../core/status.ts';
import { createCompanion } from './companion.ts';
import { createFollower, type Follower } from './follower.ts';

/** What the announcer is told. */
export type AnnouncerDesired = NonNullable<ReturnType<typeof announcerDesired>>;

/** The announcer, as the reconciler sees it. */
export type AnnouncerFollower = Follower<AnnouncerDesired, BgpView>;

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
}

/** Follows the BGP speaker, starting it when it does not run. */
export function followAnnouncer(options: CompanionsOptions): AnnouncerFollower {
  const socketPath = join(options.runDir, 'announcer.sock');
  const call = async (method: string, path: string, body?: unknown) => {
    const answer = await requestJson(socketPath, method, path, body);
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw new OperatorError(`the announcer answered ${answer.status}: ${JSON.stringify(answer.body)}`);
  };
  return createFollower<AnnouncerDesired, BgpView>({
    ...options,
    name: 'announcer',
    companion: createCompanion({
      ...options,
      name: 'announcer',
      socketPath,
      args: ['--run-dir', options.runDir],
      logPath: join(options.stateDir, 'log', 'announcer.log'),
    }),
    putDesired: (desired) => call('PUT', '/v1/desired', desired),
    async status() {
      // Each look at it is a sign of life too: without one it withdraws after its dead-man time.
      await call('POST', '/v1/heartbeat');
      return (await call('GET', '/v1/status')) as BgpView;
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
    status: () => client.status(),
  });
}
