import { writeFileSync } from 'node:fs';
import { exitCode, OperatorError, SyscallError } from '@l4d/kit/errors.ts';
import { Command } from 'commander';
import { benches } from './benches.ts';
import { formatTable } from './core/rows.ts';
import { describeMachine } from './io/machine.ts';

/** `npm run bench -- NAME [--json FILE]` */

const names = benches.map((bench) => `  ${bench.name.padEnd(18)}${bench.summary}`).join('\n');

await new Command('bench')
  .description(`Measures one part of l4d, and its peers where they are installed.\n\n${names}`)
  .argument('<name>', 'the bench')
  .option('--json <file>', 'write the rows as JSON to a file (- for the standard output) instead of a table')
  .action(async (name: string, options: { json?: string }) => {
    try {
      await measure(name, options.json);
    } catch (error) {
      if (!(error instanceof OperatorError) && !(error instanceof SyscallError)) throw error;
      process.stderr.write(`${error.message}\n`);
      process.exitCode = error instanceof OperatorError ? error.exitCode : exitCode.system;
    }
  })
  .parseAsync();

async function measure(name: string, jsonFile: string | undefined): Promise<void> {
  const bench = benches.find((candidate) => candidate.name === name);
  if (bench === undefined) {
    throw new OperatorError(`no bench is called "${name}"; there are:\n${names}`, exitCode.usage);
  }
  // With the rows on the standard output, everything else goes beside it.
  const tell = (line: string) => (jsonFile === '-' ? process.stderr : process.stdout).write(`${line}\n`);
  for (const line of describeMachine()) tell(line);
  const result = await (await bench.load()).run((line) => process.stderr.write(`${line}\n`));
  if (jsonFile === undefined) {
    tell(formatTable(result));
    return;
  }
  for (const peer of result.missing) tell(`missing: ${peer.subject} (${peer.reason})`);
  const text = `${JSON.stringify(result.rows, null, 2)}\n`;
  if (jsonFile === '-') process.stdout.write(text);
  else writeFileSync(jsonFile, text);
}
