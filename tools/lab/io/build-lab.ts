import { chmod, chown, mkdir, open, readFile, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OperatorError } from '@l4d/kit/errors.ts';
import { type Command, shellScript } from '../core/host-network.ts';
import { type LabNames, labsFolder, namespacePath } from '../core/lab-names.ts';
import type { LabPlan, PlannedFile, PlannedFolder } from '../core/lab-plan.ts';
import { switchName } from '../core/topology.ts';
import { inNamespace, runChecked, runCommand } from './run-command.ts';

/** The repository's root. */
export const repositoryRoot = resolve(import.meta.dirname, '../../..');

/** The object file with the XDP_PASS program, as bpf/build.sh leaves it. */
export const passProgram = join(repositoryRoot, 'bpf/build/pass.bpf.o');

/** Compiles the program for the fabric's ports when it is missing or older than its source. */
export async function buildPassProgram(): Promise<void> {
  const source = await stat(join(repositoryRoot, 'bpf/pass.bpf.c'));
  const object = await stat(passProgram).catch(() => undefined);
  if (object !== undefined && object.mtimeMs >= source.mtimeMs) return;
  await runChecked(['sh', join(repositoryRoot, 'bpf/build.sh')], { timeout: 300_000 });
}

/** Performs a plan. Throws an OperatorError at the first thing that fails, leaving what is made so far. */
export async function buildLab(plan: LabPlan, names: LabNames): Promise<void> {
  const users = await readUsers();
  // Routers run under an account of their own and must be able to reach their folders.
  await mkdir(labsFolder, { recursive: true, mode: 0o755 });
  for (const folder of plan.folders) await makeFolder(folder, users);
  for (const file of plan.files) await makeFile(file, users);
  const links = [...plan.namespaces.map((name): Command => ['ip', 'netns', 'add', name]), ...plan.wiring];
  await runScript(undefined, links);
  await runScript(namespacePath(names, switchName), plan.fabric);
  await Promise.all(plan.hosts.map(({ host, commands }) => runScript(namespacePath(names, host), commands)));
  await Promise.all(
    plan.daemons.map(({ host, commands }) => runScript(namespacePath(names, host), commands)),
  );
}

/** Repeats a question every 50 ms until it is answered with true; throws an OperatorError after `timeoutMs`. */
export async function waitUntil(
  what: string,
  question: () => Promise<boolean>,
  timeoutMs: number,
): Promise<void> {
  const start = performance.now();
  while (!(await question())) {
    if (performance.now() - start > timeoutMs)
      throw new OperatorError(`${what}: not so after ${timeoutMs} ms`);
    await sleep(50);
  }
}

async function runScript(namespace: string | undefined, commands: readonly Command[]): Promise<void> {
  const shell = ['sh', '-x', '-s'];
  const argv = namespace === undefined ? shell : inNamespace(namespace, shell);
  const result = await runCommand(argv, { input: shellScript(commands) });
  if (result.code === 0) return;
  // With -x the last lines are the command that failed and what it said.
  const said = result.stderr.trim().split('\n').slice(-4).join('\n  ');
  throw new OperatorError(`setting up ${namespace ?? 'the links'} failed:\n  ${said}`);
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

async function readUsers(): Promise<Map<string, Ids>> {
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  return new Map(lines.map(([name = '', , uid, gid]) => [name, { uid: Number(uid), gid: Number(gid) }]));
}

function idsOf(users: Map<string, Ids>, owner: string): Ids {
  const ids = users.get(owner);
  if (ids === undefined) throw new OperatorError(`there is no user "${owner}": run "npm run setup" first`);
  return ids;
}

async function makeFolder(folder: PlannedFolder, users: Map<string, Ids>): Promise<void> {
  await mkdir(folder.path, { recursive: true, mode: 0o755 });
  if (folder.owner === undefined) return;
  const { uid, gid } = idsOf(users, folder.owner);
  await chown(folder.path, uid, gid);
}

async function makeFile(file: PlannedFile, users: Map<string, Ids>): Promise<void> {
  if (file.kind === 'sparse') {
    const handle = await open(file.path, 'w', 0o644);
    await handle.truncate(file.bytes);
    await handle.close();
    return;
  }
  await writeFile(file.path, file.text);
  await chmod(file.path, 0o644);
  if (file.owner === undefined) return;
  const { uid, gid } = idsOf(users, file.owner);
  await chown(file.path, uid, gid);
}
