import { dirname, join } from 'node:path';
import type { AnnouncerSummary } from '@l4d/announcer/core/api-status.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { BgpStatus, BgpView, VrrpView } from '@l4d/l4d/core/status.ts';
import type { Ctl } from './ctl.ts';

/**
 * Asks what the announcer knows: by way of the daemon, or, when that does not run, the announcer itself, which goes on
 * without it (and is all there is where it runs alone). `path` is below /v1/bgp: empty for the status.
 */
export async function askBgp(ctl: Ctl, method: string, path: string, body?: unknown): Promise<unknown> {
  const direct = path === '' ? '/v1/status?prefixes=true' : `/v1${path}`;
  return await askEither(ctl, { method, path: `/v1/bgp${path}`, body }, direct, (answer) =>
    path === '' ? ({ state: 'running', announcer: answer as BgpView } satisfies BgpStatus) : answer,
  );
}

/** The virtual routers, from the daemon or else from the announcer itself. */
export async function askVrrp(ctl: Ctl): Promise<VrrpView> {
  const request = { method: 'GET', path: '/v1/vrrp', body: undefined };
  return (await askEither(ctl, request, '/v1/status', (answer) => {
    const { vrrp } = answer as Pick<AnnouncerSummary, 'vrrp'>;
    if (vrrp === undefined) {
      const reason = 'the announcer holds no virtual routers';
      return { state: 'off', reason, routers: [], dropped: {} } satisfies VrrpView;
    }
    const { problem, routers, dropped } = vrrp;
    const reason = problem === undefined ? {} : { reason: problem };
    return { state: 'running', ...reason, routers, dropped } satisfies VrrpView;
  })) as VrrpView;
}

/** Asks the daemon; when it does not run, the announcer, at `direct`, whose answer is given the daemon's shape. */
async function askEither(
  ctl: Ctl,
  { method, path, body }: { readonly method: string; readonly path: string; readonly body: unknown },
  direct: string,
  shape: (answer: unknown) => unknown,
): Promise<unknown> {
  try {
    return await ctl.ask(method, path, body);
  } catch (error) {
    if (!(error instanceof OperatorError) || error.exitCode !== exitCode.unavailable) throw error;
    const socketPath = join(dirname(ctl.socketPath()), 'announcer.sock');
    const answer = await ctl.env.request(socketPath, method, direct, body).catch(() => undefined);
    // What is wrong is told of the daemon, not of its companion.
    if (answer === undefined) throw error;
    if (answer.status < 200 || answer.status >= 300) throw refusedByAnnouncer(answer.status, answer.body);
    ctl.env.stderr('l4d does not answer: this is from the announcer itself\n');
    return shape(answer.body);
  }
}

/** The sessions and prefixes. */
export async function bgpStatus(ctl: Ctl): Promise<BgpStatus> {
  return (await askBgp(ctl, 'GET', '')) as BgpStatus;
}

/** The announcer's view; throws an OperatorError that says why there is none. */
export async function bgpView(ctl: Ctl): Promise<BgpView> {
  const status = await bgpStatus(ctl);
  if (status.announcer !== undefined) return status.announcer;
  throw new OperatorError(bgpAbsent(status), exitCode.unavailable);
}

/** Why there is no announcer to ask. */
export function bgpAbsent({ state, reason }: BgpStatus): string {
  return `BGP is ${state}${reason === undefined ? '' : `: ${reason}`}`;
}

function refusedByAnnouncer(status: number, body: unknown): OperatorError {
  const { title, detail } = (typeof body === 'object' && body !== null ? body : {}) as {
    readonly title?: string;
    readonly detail?: string;
  };
  return new OperatorError(`${title ?? `the announcer answered ${status}`}: ${detail ?? String(body)}`);
}
