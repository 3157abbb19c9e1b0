import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { noTotals, type Totals, totalsOfReport } from '../core/totals.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const bin = join(root, 'node_modules/.bin');
const environment = { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };

/** A step that hangs is ended after so long; all together stay below ten minutes on a machine with two cores. */
const stepTimeoutMs = 540_000;

/** Runs one program that passes or fails as a whole. */
export function runProgram(argv: readonly string[]): Totals {
  const [program = '', ...rest] = argv;
  const { status } = spawnSync(program, rest, {
    cwd: root,
    env: environment,
    stdio: 'inherit',
    timeout: stepTimeoutMs,
  });
  return status === 0 ? { ...noTotals, passed: 1 } : { ...noTotals, failed: 1 };
}

/** Runs a vitest project, of it the files whose path holds one of `filters`, all without one. */
export function runProject(project: string, filters: readonly string[]): Totals {
  const folder = mkdtempSync(join(tmpdir(), 'l4d-test-'));
  const reportPath = join(folder, 'report.json');
  try {
    const { status } = spawnSync(
      'vitest',
      [
        'run',
        '--project',
        project,
        '--passWithNoTests',
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${reportPath}`,
        ...filters,
      ],
      { cwd: root, env: environment, stdio: 'inherit', timeout: stepTimeoutMs },
    );
    return totalsOfReport(JSON.parse(readFileSync(reportPath, 'utf8')), status ?? 1);
  } catch (error) {
    process.stderr.write(`${project}: no report of vitest: ${(error as Error).message}\n`);
    return { ...noTotals, failed: 1 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** How many tests a project has, without running them; files that cannot be loaded are not counted. */
export function countTests(project: string, filters: readonly string[]): number {
  const folder = mkdtempSync(join(tmpdir(), 'l4d-test-'));
  const listPath = join(folder, 'list.json');
  try {
    spawnSync('vitest', ['list', '--project', project, `--json=${listPath}`, ...filters], {
      cwd: root,
      env: environment,
      stdio: 'ignore',
      timeout: 60_000,
    });
    return (JSON.parse(readFileSync(listPath, 'utf8')) as readonly unknown[]).length;
  } catch {
    return 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
