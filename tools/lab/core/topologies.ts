import { twoTor } from '../topologies/two-tor.ts';
import type { Topology } from './topology.ts';

/** Every topology that the lab can build; the first is the default. */
export const topologies: readonly Topology[] = [twoTor];

/** The topology of that name, or undefined. */
export function topologyNamed(name: string): Topology | undefined {
  return topologies.find((topology) => topology.name === name);
}
