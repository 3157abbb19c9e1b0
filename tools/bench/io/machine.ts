import { execFileSync } from 'node:child_process';
import { cpus, loadavg, release, totalmem } from 'node:os';

/** What numbers depend on, in one line each: machine, kernel, commit, load. */
export function describeMachine(): string[] {
  const [first] = cpus();
  const memory = (totalmem() / 2 ** 30).toFixed(1);
  return [
    `machine  ${cpus().length} x ${first?.model.trim() ?? 'unknown processor'}, ${memory} GiB`,
    `kernel   ${release()}, node ${process.version}`,
    `commit   ${commit()}`,
    `load     ${loadavg()
      .map((load) => load.toFixed(2))
      .join(' ')}`,
  ];
}

/** The checkout's commit, and whether it has changes that are not in it. */
function commit(): string {
  try {
    const git = (...args: string[]) =>
      execFileSync('git', args, {
        cwd: import.meta.dirname,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    return `${git('rev-parse', '--short=12', 'HEAD')}${git('status', '--porcelain', '-uno') === '' ? '' : ' with changes'}`;
  } catch {
    return 'unknown (no git checkout)';
  }
}
