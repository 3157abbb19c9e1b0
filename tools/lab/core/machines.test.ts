import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { machinesPath } from '../io/write-machines.ts';
import { machinesFile, machinesOf } from './machines.ts';
import { topologies } from './topologies.ts';

describe.each(topologies.map((topology) => [topology.name, topology] as const))(
  '%s as machines',
  (_name, topology) => {
    it('is what the Vagrantfile reads (written anew by "npm run lab -- machines")', () => {
      expect(readFileSync(machinesPath(topology), 'utf8')).toBe(machinesFile(topology));
    });

    it('has a MAC address of its own for every link, and two or more links in every segment', () => {
      const links = machinesOf(topology).machines.flatMap((machine) => machine.links);
      expect(new Set(links.map(({ mac }) => mac)).size).toBe(links.length);
      for (const { segment } of links) {
        expect(links.filter((link) => link.segment === segment).length).toBeGreaterThan(1);
      }
    });
  },
);
