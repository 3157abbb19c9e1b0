import { readdir, rm, rmdir } from 'node:fs/promises';
import { type LabNames, labsBpfFolder, labsFolder, netnsFolder } from '../core/lab-names.ts';
import { endProcesses } from './namespace-processes.ts';
import { runChecked } from './run-command.ts';

/** Milliseconds that a lab's processes have to end by themselves. */
const graceMs = 1500;

/** Where FRR's daemons leave a folder with buffered log lines when they are killed. */
const frrTemporary = '/var/tmp/frr';

/** Removes whatever there is of a lab with these namespaces: processes, namespaces, files, bpffs pins. */
export async function removeLab(names: LabNames, namespaces: readonly string[]): Promise<void> {
  const present = await readdir(netnsFolder).catch(() => [] as string[]);
  const ours = [...new Set(namespaces)].filter((name) => present.includes(name));
  const pids = await endProcesses(
    ours.map((name) => `${netnsFolder}/${name}`),
    graceMs,
  );
  for (const name of ours) await runChecked(['ip', 'netns', 'delete', name]);
  await rm(names.bpfFolder, { recursive: true, force: true });
  await rm(names.folder, { recursive: true, force: true });
  await removeFrrLeftovers(new Set(pids.map(String)));
  for (const shared of [labsBpfFolder, labsFolder]) await removeWhenEmpty(shared);
}

async function removeFrrLeftovers(pids: ReadonlySet<string>): Promise<void> {
  const folders = await readdir(frrTemporary).catch(() => [] as string[]);
  for (const folder of folders) {
    const pid = folder.split('.').at(-1) ?? '';
    if (pids.has(pid)) await rm(`${frrTemporary}/${folder}`, { recursive: true, force: true });
  }
}

async function removeWhenEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    // Another lab lives there, or the folder is not there.
    if (!['ENOTEMPTY', 'EBUSY', 'ENOENT'].includes(error.code ?? '')) throw error;
  });
}
