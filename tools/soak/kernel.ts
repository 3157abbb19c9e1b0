import { dirname, join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { repositoryRoot } from '../lab/io/build-lab.ts';
import { fetchDebianKernel, runInGuest } from './guest-kernel.ts';
import type { SoakOptions } from './soak.ts';

/** The oldest kernel that l4d is for. */
const version = '6.1.';

/** Loads the programs and sends all packet fixtures through them on Debian 12's own kernel. */
export async function run({ say }: SoakOptions): Promise<string> {
  const kernel = fetchDebianKernel();
  if (!kernel.version.startsWith(version)) {
    throw new OperatorError(
      `this release's kernel is ${kernel.version}, not ${version}x: run it on Debian 12, or with its package lists`,
      exitCode.system,
    );
  }
  const bin = join(repositoryRoot, 'node_modules/.bin');
  const path = `${bin}:${dirname(process.execPath)}:/usr/sbin:/usr/bin:/sbin:/bin`;
  // What takes milliseconds here takes a second there.
  const tests = 'vitest run --project bpf --testTimeout 900000';
  // The probe first: within seconds it names what the verifier refuses.
  const command = `export HOME=/tmp CI=1 NO_COLOR=1 PATH=${path}\nuname -r\nnode l4d/src/main.ts probe && ${tests} 2>&1`;
  const { status, output } = await runInGuest(kernel, repositoryRoot, command, say);
  if (status !== 0) throw new OperatorError('tests failed on that kernel, see above', exitCode.failure);
  const [, summary] = /^\s*Tests\s+(.*)$/m.exec(output) ?? [];
  if (summary === undefined) throw new OperatorError('the guest ran no tests', exitCode.failure);
  return `${summary.trim()} on Linux ${kernel.version}`;
}
