import { describe, expect, it } from 'vitest';
import { twoTor } from '../topologies/two-tor.ts';
import { labNames } from './lab-names.ts';
import { planLab } from './lab-plan.ts';

const planFor = (id: string) => {
  const names = labNames(id);
  if (!names.ok) throw new Error(names.error);
  return planLab(twoTor, names.value, '/pass.bpf.o');
};
const join = (commands: readonly (readonly string[])[]) => commands.map((command) => command.join(' '));

describe('planLab', () => {
  it('names everything after the id, so that two labs share nothing', () => {
    const pathsOf = (id: string) => {
      const plan = planFor(id);
      return [
        ...plan.namespaces,
        ...plan.folders.map(({ path }) => path),
        ...plan.files.map(({ path }) => path),
      ];
    };
    const first = new Set(pathsOf('one'));
    expect(pathsOf('two').filter((path) => first.has(path))).toEqual([]);
    expect([...first].every((path) => path.includes('one'))).toBe(true);
    // No command of one lab may mention the other's namespaces or folders.
    expect(JSON.stringify(planFor('one')).replaceAll('one-', '').replaceAll('/one', '')).toBe(
      JSON.stringify(planFor('two')).replaceAll('two-', '').replaceAll('/two', ''),
    );
  });

  it('links every host of the fabric to the bridge, and the client to both routers', () => {
    const wiring = join(planFor('x').wiring);
    expect(wiring).toHaveLength(9);
    expect(wiring).toContain('ip link add eth0 netns x-lb1 type veth peer name lb1 netns x-switch');
    expect(wiring).toContain('ip link add eth1 netns x-client type veth peer name eth1 netns x-tor2');
  });

  it("settles the veth traps at the l4d hosts' ports only, in bpffs of its own", () => {
    const fabric = join(planFor('x').fabric);
    expect(fabric.filter((line) => line.startsWith('ethtool'))).toEqual([
      'ethtool -K lb1 tx off',
      'ethtool -K lb2 tx off',
    ]);
    expect(fabric).toContain(
      'env TC_BPF_MNT=/sys/fs/bpf/l4d-lab/x/switch ip link set dev lb2 xdpdrv obj /pass.bpf.o sec xdp.frags',
    );
  });

  it('gives FRR a folder that its own user owns', () => {
    const plan = planFor('x');
    expect(plan.folders).toContainEqual({ path: '/run/l4d-lab/x/tor1/frr', owner: 'frr' });
    const tor1 = plan.daemons.find(({ host }) => host === 'tor1');
    expect(join(tor1?.commands ?? []).map((line) => line.split(' ')[0])).toEqual([
      '/usr/lib/frr/zebra',
      '/usr/lib/frr/bgpd',
    ]);
  });
});

describe('labNames', () => {
  it.each(['', 'Lab', '1lab', 'a/b', '..', 'a b', '-a', 'a'.repeat(25)])('refuses "%s"', (id) => {
    expect(labNames(id).ok).toBe(false);
  });
});
