import { dirname, join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { BgpStatus, BgpView } from '@l4d/l4d/core/status.ts';
import type { Ctl } from './ctl.ts';

/**
 * Asks what the announcer knows: by way of the daemon, or, when that does not run, the announcer itself, which goes on
 * without it (and is all there is where it runs alone). `path` is below /v1/bgp: empty for the status.
 */
export async function askBgp(ctl: Ctl, method: string, path: string, body?: unknown): Promise<unknown> {
  try {
    return await ctl.ask(method, `/v1/bgp${path}`, body);
  } catch (error) {
    if (!(error instanceof OperatorError) || error.exitCode !== exitCode.unavailable) throw error;
    const socketPath = join(dirname(ctl.socketPath()), 'announcer.sock');
    const direct = path === '' ? '/v1/status?prefixes=true' : `/v1${path}`;
    const answer = await ctl.env.request(socketPath, method, direct, body).catch(() => undefined);
    // What is wrong is told of the daemon, not of its companion.
    if (answer === undefined) throw error;
    if (answer.status < 200 || answer.status >= 300) throw refusedByAnnouncer(answer.status, answer.body);
    ctl.env.stderr('l4d does not answer: this is from the announcer itself\n');
    return path === ''
      ? ({ state: 'running', announcer: answer.body as BgpView } satisfies BgpStatus)
      : answer.body;
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
