import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { OperatorError } from '@l4d/kit/errors.ts';
import { repositoryRoot } from '../lab/io/build-lab.ts';
import type { SoakOptions } from './soak.ts';

/** A soak that runs a test file `count` times (once by default) with more cases than `npm test` (L4D_TEST_LONG). */
export function longTest(file: string): { run(options: SoakOptions): Promise<string> } {
  return {
    async run({ count = 1, say }) {
      for (let round = 1; round <= count; round++) {
        say(`${file}, ${round} of ${count}`);
        const child = spawn('vitest', ['run', '--project', 'integration', '--reporter', 'verbose', file], {
          cwd: repositoryRoot,
          env: { ...process.env, L4D_TEST_LONG: '1' },
          stdio: 'inherit',
        });
        const [code] = (await once(child, 'exit')) as [number | null];
        if (code !== 0) throw new OperatorError(`${file} failed in round ${round}`);
      }
      return `${file} ${count} times`;
    },
  };
}
