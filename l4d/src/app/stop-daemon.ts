import { setTimeout as sleep } from 'node:timers/promises';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { requestJson } from '@l4d/kit/unix-http.ts';
import type { FabricStatus } from '../core/status.ts';
import { type Folders, pathsIn } from './state-paths.ts';

/** Between two looks at how far it has come, milliseconds. */
const lookInterval = 500;

/** Asks the daemon for a planned stop and tells how it goes until it has ended. Throws OperatorError. */
export async function stopDaemon(
  folders: Folders,
  { text, force }: { readonly text?: string; readonly force?: boolean },
  say: (line: string) => void,
): Promise<void> {
  const socket = pathsIn(folders).apiSocket;
  const path = `/v1/stop${force === true ? '?force=true' : ''}`;
  const answer = await requestJson(socket, 'POST', path, text === undefined ? {} : { text }).catch(() => {
    throw new OperatorError(
      `no daemon answers on ${socket}: nothing was stopped (the brake: l4d detach --all)`,
      exitCode.unavailable,
    );
  });
  if (answer.status !== 202) {
    const { detail } = answer.body as { readonly detail?: string };
    throw new OperatorError(`the daemon refused to stop: ${detail ?? answer.status}`);
  }
  const told = new Map<string, string>();
  for (;;) {
    const status = await requestJson(socket, 'GET', '/v1/status').catch(() => undefined);
    if (status === undefined) break;
    for (const { name, ending } of (status.body as FabricStatus).vips) {
      if (ending === undefined || told.get(name) === ending.step) continue;
      told.set(name, ending.step);
      say(`${name}: ${ending.text}`);
    }
    await sleep(lookInterval);
  }
  say('stopped: nothing is announced or forwarded any more');
}
