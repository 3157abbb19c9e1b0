import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { ChangeView, PlanView } from '@l4d/l4d/core/status.ts';
import { type ConfigDocument, parseConfigText, readConfigFile } from '@l4d/l4d/io/config-file.ts';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { printChange, warningLine } from './change-answer.ts';
import type { Ctl } from './ctl.ts';

/** What `POST /v1/undo` answers. */
interface UndoAnswer {
  /** Note of the change that was taken back. */
  readonly undone?: string;
  readonly changes?: readonly ChangeView[];
}

interface FileOption {
  readonly file: string;
}

/** `l4ctl apply`, `diff`, `export`, `undo`, `reconcile`: desired state as a whole. */
export function addStateCommands(program: Command, ctl: Ctl): void {
  program
    .command('apply')
    .description('make a configuration file the desired state; it is checked whole first')
    .requiredOption('-f, --file <file>', 'YAML or JSON; - is standard input')
    .action(async ({ file }: FileOption) => {
      const { json } = await readDocument(file, ctl);
      const { revision } = (await ctl.ask('GET', '/v1/desired')) as { readonly revision: number };
      const plan = (await ctl.ask('POST', '/v1/plan', json)) as PlanView;
      const answer = await ctl.ask('PUT', '/v1/desired', json, { 'if-match': String(revision) });
      // Of the plan's warnings those that the answer does not have are of what stays as it is.
      printChange(ctl, answer, 'applied', changesText({ ...plan, warnings: [] }));
    });
  program
    .command('diff')
    .description(
      'what a configuration file would change; moves nothing; ends with 78 when this host or its guard would refuse it',
    )
    .requiredOption('-f, --file <file>', 'YAML or JSON; - is standard input')
    .action(async ({ file }: FileOption) => {
      const { json } = await readDocument(file, ctl);
      const plan = (await ctl.ask('POST', '/v1/plan', json)) as PlanView;
      ctl.print(plan, () => changesText(plan));
      if (plan.refused !== undefined && plan.refused.length > 0)
        throw new OperatorError('this host would refuse this change', exitCode.config);
      if (plan.guard.length > 0 && !ctl.isForced()) {
        throw new OperatorError('the guard would refuse this change', exitCode.config);
      }
    });
  program
    .command('export')
    .description('the desired state in force, as YAML that apply takes')
    .option(
      '--secrets',
      'with passwords and keys in clear; without it they are masked, and apply refuses the mask',
    )
    .action(async ({ secrets }: { readonly secrets?: true }) => {
      const answer = (await ctl.ask('GET', `/v1/desired${secrets ? '?secrets=show' : ''}`)) as {
        readonly desired: unknown;
      };
      ctl.print(answer.desired, () => stringify(answer.desired));
    });
  program
    .command('undo')
    .description('go back to the desired state before the last change; again: one further')
    .action(async () => {
      const answer = await ctl.ask('POST', '/v1/undo');
      const { undone, changes = [] } = answer as UndoAnswer;
      const what = undone === undefined ? '' : `: ${undone}`;
      printChange(ctl, answer, `undone${what}`, changes.map(changeLine).join(''));
    });
  program
    .command('reconcile')
    .description('compare desired state with the kernel now and mend what differs')
    .action(async () => {
      const answer = (await ctl.ask('POST', '/v1/reconcile')) as { readonly operations: readonly string[] };
      const lines = answer.operations.length === 0 ? ['nothing differed'] : answer.operations;
      ctl.print(answer, () => `${lines.join('\n')}\n`);
    });
}

/** Reads and checks a file here, so that its problems come with line and column. Throws the ConfigError. */
async function readDocument(file: string, ctl: Ctl): Promise<ConfigDocument> {
  const result = file === '-' ? parseConfigText(await ctl.env.stdin(), 'stdin') : await readConfigFile(file);
  if (!result.ok) throw result.error;
  return result.value;
}

const signs = { add: '+', remove: '-', change: '~' } as const;

function changeLine({ action, subject, fields }: ChangeView): string {
  return `${signs[action]} ${subject}${fields.length === 0 ? '' : `: ${fields.join(', ')}`}\n`;
}

function changesText({ changes, warnings, guard, refused = [] }: PlanView): string {
  if (changes.length === 0) return 'no changes\n';
  return [
    ...changes.map(changeLine),
    ...warnings.map(warningLine),
    ...refused.map((problem) => `! refused: ${problem}\n`),
    ...guard.map((reason) => `! refused unless forced (--force): ${reason}\n`),
  ].join('');
}
