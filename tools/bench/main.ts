import { writeFileSync } from 'node:fs';
import { exitCode, OperatorError, SyscallError } from '@l4d/kit/errors.ts';
import { Command, InvalidArgumentError } from 'commander';
import { benches } from './benches.ts';
import { formatTable } from './core/rows.ts';
import { everything, type Selection } from './core/selection.ts';
import { describeMachine } from './io/machine.ts';

/** `npm run bench -- NAME [--json FILE]`, and with benches that can be asked for a part of them what that part is. */

const names = benches.map((bench) => `  ${bench.name.padEnd(18)}${bench.summary}`).join('\n');

await new Command('bench')
  .description(`Measures one part of l4d, and its peers where they are installed.\n\n${names}`)
  .argument('<name>', 'the bench')
  .option('--json <file>', 'write the rows as JSON to a file (- for the standard output) instead of a table')
  .option('--case <part...>', 'only cases with this in their name; =NAME: that one')
  .option('--subjects <list>', 'only subjects with one of these, separated by commas, in their name')
  .option('--seconds <number>', 'length of one measurement', positive)
  .option('--rounds <number>', 'how often each is measured', positive)
  .option('--against <folder>', 'another checkout of this project, measured beside this one')
  .action(async (name: string, options: Options) => {
    try {
      await measure(name, options);
    } catch (error) {
      if (!(error instanceof OperatorError) && !(error instanceof SyscallError)) throw error;
      process.stderr.write(`${error.message}\n`);
      process.exitCode = error instanceof OperatorError ? error.exitCode : exitCode.system;
    }
  })
  .parseAsync();

interface Options {
  readonly json?: string;
  readonly case?: readonly string[];
  readonly subjects?: string;
  readonly seconds?: number;
  readonly rounds?: number;
  readonly against?: string;
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text))
    throw new InvalidArgumentError('it is not a whole number from 1 to 9999.');
  return Number(text);
}

function selectionOf({ json, case: cases, subjects, ...rest }: Options): Selection {
  return { cases: cases ?? [], subjects: subjects?.split(',') ?? [], ...rest };
}

async function measure(name: string, options: Options): Promise<void> {
  const jsonFile = options.json;
  const bench = benches.find((candidate) => candidate.name === name);
  if (bench === undefined) {
    throw new OperatorError(`no bench is called "${name}"; there are:\n${names}`, exitCode.usage);
  }
  const asked = Object.keys(options).filter((option) => option !== 'json');
  if (asked.length > 0 && bench.selective !== true) {
    const able = benches.filter(({ selective }) => selective === true).map((one) => one.name);
    throw new OperatorError(
      `"${name}" is measured as a whole: --${asked[0]} is for ${able.join(', ')}`,
      exitCode.usage,
    );
  }
  const selection = asked.length > 0 ? selectionOf(options) : everything;
  // With the rows on the standard output, everything else goes beside it.
  const tell = (line: string) => (jsonFile === '-' ? process.stderr : process.stdout).write(`${line}\n`);
  for (const line of describeMachine()) tell(line);
  const result = await (await bench.load()).run((line) => process.stderr.write(`${line}\n`), selection);
  if (jsonFile === undefined) {
    tell(formatTable(result));
    return;
  }
  for (const peer of result.missing) tell(`missing: ${peer.subject} (${peer.reason})`);
  const text = `${JSON.stringify(result.rows, null, 2)}\n`;
  if (jsonFile === '-') process.stdout.write(text);
  else writeFileSync(jsonFile, text);
}
