import { dirname, join } from 'node:path';
import type { HandoverAnswer } from '@l4d/announcer/core/api.ts';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { Command } from 'commander';
import type { Ctl } from './ctl.ts';

/** `l4ctl announcer …`: speaks to the announcer itself, which the daemon need not notice. */
export function addAnnouncerCommands(program: Command, ctl: Ctl): void {
  const announcer = program.command('announcer').description('the BGP speaker: upgrade');
  announcer
    .command('upgrade')
    .description('start the version that is installed now and hand it all BGP sessions, without a flap')
    .option(
      '--or-restart',
      'where that fails, restart it: sessions end, routers with continuity keep the routes',
    )
    .action(async ({ orRestart }: { readonly orRestart?: true }) => {
      const socketPath = join(dirname(ctl.socketPath()), 'announcer.sock');
      const body = { otherwise: orRestart === true ? 'restart' : 'stay' };
      const answer = await ctl.env
        .request(socketPath, 'POST', '/v1/handover', body, {})
        .catch((error: unknown) => {
          const why = error instanceof Error ? error.message : String(error);
          throw new OperatorError(
            `the announcer does not answer on ${socketPath}: ${why}`,
            exitCode.unavailable,
          );
        });
      if (answer.status !== 200) {
        const { title, detail } = answer.body as { readonly title: string; readonly detail: string };
        throw new OperatorError(`${title}: ${detail}`);
      }
      const { pid, frozenMs } = answer.body as HandoverAnswer;
      ctl.print(
        answer.body,
        () => `the sessions are with process ${pid}; they stood still for ${frozenMs} ms\n`,
      );
    });
}
