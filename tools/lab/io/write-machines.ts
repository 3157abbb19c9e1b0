import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { machinesFile } from '../core/machines.ts';
import type { Topology } from '../core/topology.ts';
import { repositoryRoot } from './build-lab.ts';

/** Path of the generated file with a topology's virtual machines. */
export function machinesPath(topology: Topology): string {
  return join(repositoryRoot, 'tools/provision', `${topology.name}.json`);
}

/** Writes that file and gives its path. */
export async function writeMachines(topology: Topology): Promise<string> {
  const path = machinesPath(topology);
  await writeFile(path, machinesFile(topology));
  return path;
}
