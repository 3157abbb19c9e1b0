import { type HostStatus, parseAddresses, parseNeighbours } from '../core/lab-status.ts';
import type { Lab } from '../lab.ts';

/** Asks every host of a lab that is up. */
export async function readStatus(lab: Lab): Promise<HostStatus[]> {
  return Promise.all(lab.topology.hosts.map(({ name, role }) => readHostStatus(lab, name, role)));
}

async function readHostStatus(lab: Lab, name: string, role: string): Promise<HostStatus> {
  const addresses = await lab.exec(name, ['ip', '-j', 'address', 'show']);
  const status: HostStatus = {
    name,
    role,
    interfaces: parseAddresses(addresses.stdout),
    processes: (await lab.processes(name)).map(({ pid, name: program }) => ({ pid, name: program })),
  };
  if (role !== 'router') return status;
  // A router whose daemons are dead is shown without neighbours, not as a failure.
  const families = await Promise.all(
    (['ipv4', 'ipv6'] as const).map((family) =>
      lab.vtysh(name, `show bgp ${family} unicast summary json`).then(
        (answer) => parseNeighbours(family, answer),
        () => [],
      ),
    ),
  );
  return { ...status, neighbours: families.flat() };
}
