import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { repositoryRoot } from '../lab/io/build-lab.ts';
import { deviceModules, fetchDebianKernel, runInGuest } from './guest-kernel.ts';
import type { SoakOptions } from './soak.ts';

/** The oldest kernel that l4d is for. */
const version = '6.1.';

/** Compiled modules of earlier runs: the guest compiles some thirty times slower than this machine. */
const compileCache = '/var/tmp/l4d-guest-kernels/compile-cache';

/** What is run in the guest. */
interface GuestTests {
  readonly project: 'bpf' | 'guest';
  /** Kernel modules beside those that all need. */
  readonly modules: readonly string[];
  /** A shell command before the tests: what ends all of it within seconds where it fails. */
  readonly before: string;
}

/** A soak that runs the tests of a project, or those of its files that are named, on Debian 12's own kernel. */
function guestTests({ project, modules, before }: GuestTests) {
  return async ({ say, files = [] }: SoakOptions): Promise<string> => {
    const kernel = fetchDebianKernel();
    if (!kernel.version.startsWith(version)) {
      throw new OperatorError(
        `this release's kernel is ${kernel.version}, not ${version}x: run it on Debian 12, or with its package lists`,
        exitCode.system,
      );
    }
    // The daemon in one file, and compiled: the guest reads it, and need not make it of 300.
    execFileSync(process.execPath, [join(repositoryRoot, 'tools/bundle/main.ts')], { stdio: 'ignore' });
    execFileSync(process.execPath, [join(repositoryRoot, 'l4d/bin/start.mjs'), '--version'], {
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
      stdio: 'ignore',
    });
    const bin = join(repositoryRoot, 'node_modules/.bin');
    const environment = [
      'HOME=/tmp CI=1 NO_COLOR=1 L4D_TEST_PATIENCE=12',
      `NODE_COMPILE_CACHE=${compileCache}`,
      `PATH=${bin}:${dirname(process.execPath)}:/usr/sbin:/usr/bin:/sbin:/bin`,
    ];
    const tests = [
      `vitest run --project ${project} --reporter verbose`,
      ...files.map((file) => `'${file.replaceAll("'", "'\\''")}'`),
    ].join(' ');
    const command = `export ${environment.join(' ')}\nuname -r\n${before} && ${tests} 2>&1`;
    const { status, output } = await runInGuest(kernel, repositoryRoot, command, say, modules);
    if (status !== 0) throw new OperatorError('tests failed on that kernel, see above', exitCode.failure);
    const [, summary] = /^\s*Tests\s+(.*)$/m.exec(output) ?? [];
    if (summary === undefined) throw new OperatorError('the guest ran no tests', exitCode.failure);
    return `${summary.trim()} on Linux ${kernel.version}`;
  };
}

/** All packets of the tests through the programs. The probe first: it names what the verifier refuses. */
export const packets = {
  run: guestTests({ project: 'bpf', modules: [], before: 'node l4d/bin/start.mjs probe' }),
};

/** The daemon with devices that hardly any machine of ours has. */
export const devices = {
  run: guestTests({
    project: 'guest',
    modules: deviceModules,
    before: 'mount -t tmpfs memory /run && mkdir /run/netns',
  }),
};
