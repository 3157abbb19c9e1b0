import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { Command, InvalidArgumentError } from 'commander';
import { soaks } from './soaks.ts';

/** `npm run soak -- NAME [FILE...] [--count N] [--minutes N] [--seconds N] [--seed N]` */

const names = soaks.map(({ name, summary }) => `  ${name.padEnd(16)}${summary}`).join('\n');

function positive(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('it is a number above 0.');
}

await new Command('soak')
  .description(`Runs one of the proofs that are too long for npm test.\n\n${names}`)
  .argument('<name>', 'the soak')
  .argument('[files...]', 'of kernel-6.1 and kernel-devices: only these test files, by parts of their paths')
  .option('--count <number>', 'how often', positive)
  .option('--minutes <number>', 'for how long', positive)
  .option('--seconds <number>', 'for how long, of those that take minutes at most', positive)
  .option('--seed <number>', 'where the pseudo-random numbers start', positive, 4271)
  .action(
    async (
      name: string,
      files: string[],
      options: { count?: number; minutes?: number; seconds?: number; seed: number },
    ) => {
      const soak = soaks.find((candidate) => candidate.name === name);
      if (soak === undefined) {
        process.stderr.write(`no soak is called "${name}"; there are:\n${names}\n`);
        process.exitCode = exitCode.usage;
        return;
      }
      const start = performance.now();
      const say = (line: string) => process.stdout.write(`${line}\n`);
      try {
        const result = await (await soak.load()).run({ ...options, files, say });
        say(`${name}: held; ${result}; ${((performance.now() - start) / 1000).toFixed(1)} s`);
      } catch (error) {
        process.exitCode = error instanceof OperatorError ? error.exitCode : exitCode.failure;
        process.stderr.write(`${name}: FAILED: ${error instanceof Error ? error.message : String(error)}\n`);
      }
    },
  )
  .parseAsync();
