import { describe, expect, it } from 'vitest';
import { twoTor } from '../topologies/two-tor.ts';
import { topologies } from './topologies.ts';
import { checkTopology, findHost, hostsOf, type Topology } from './topology.ts';

describe('checkTopology', () => {
  it.each(topologies.map((topology) => [topology.name, topology] as const))(
    'accepts %s',
    (_name, topology) => {
      expect(checkTopology(topology)).toEqual([]);
    },
  );

  it('names what is wrong', () => {
    const [client, tor1] = twoTor.hosts;
    if (client?.role !== 'client' || tor1?.role !== 'router') throw new Error('the topology has changed');
    const broken: Topology = {
      ...twoTor,
      fabric: { ...twoTor.fabric, ipv4: '10.77.0.1/24' },
      hosts: [
        { ...client, links: client.links.map((link) => ({ ...link, router: 'b1' })) },
        tor1,
        { ...tor1, ipv4: '10.77.0.300', ipv6: 'fd78::1' },
        { ...tor1, name: 'lb-1' },
        { ...tor1, name: 'switch' },
      ],
    };
    const problems = checkTopology(broken).join('\n');
    expect(problems).toContain('host bits set');
    expect(problems).toContain('its link names "b1", which is no router');
    expect(problems).toContain('"10.77.0.300" is not an IPv4 or IPv6 address');
    expect(problems).toContain('fd78::1 is not in the fabric');
    expect(problems).toContain('host "lb-1": a name is');
    expect(problems).toContain('"switch": the name is taken');
    expect(problems).toContain("10.77.0.1 is also tor1's");
    expect(problems).toContain('host "tor1" is there 2 times');
  });
});

describe('hosts', () => {
  it('are found by role and by name', () => {
    expect(hostsOf(twoTor, 'router').map(({ name }) => name)).toEqual(['tor1', 'tor2']);
    expect(findHost(twoTor, 'lb2')?.ipv4).toBe('10.77.0.12');
    expect(findHost(twoTor, 'lb9')).toBeUndefined();
  });
});
