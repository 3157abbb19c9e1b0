import { parseConfigText } from '@l4d/l4d/io/config-file.ts';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { twoTor } from '../topologies/two-tor.ts';
import { bgpdConfig, integratedFrrConfig } from './frr-config.ts';
import { nginxConfig } from './nginx-config.ts';
import { starterConfig } from './starter-config.ts';
import { hostsOf } from './topology.ts';

const [router] = hostsOf(twoTor, 'router');
const [host] = hostsOf(twoTor, 'l4d');
const [backend] = hostsOf(twoTor, 'backend');
if (router === undefined || host === undefined || backend === undefined) throw new Error('no such hosts');

describe('bgpdConfig', () => {
  it('spreads over hosts of different systems and takes both families from each', () => {
    const text = bgpdConfig(twoTor, router, 'syslog');
    for (const line of [
      'router bgp 65000',
      ' no bgp ebgp-requires-policy',
      ' bgp bestpath as-path multipath-relax',
      ' neighbor L4D timers 1 3',
      ' neighbor L4D advertisement-interval 0',
      ' neighbor 10.77.0.11 peer-group L4D',
      ' neighbor 10.77.0.12 peer-group L4D',
      ' bgp listen range fd77::/64 peer-group L4D',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
    expect(text.match(/maximum-paths 64/g)).toHaveLength(2);
  });

  it('is part of the one file that a machine has', () => {
    const text = integratedFrrConfig(twoTor, router);
    expect(text.match(/^hostname /gm)).toHaveLength(1);
    expect(text).toContain('\nrouter bgp 65000\n');
  });
});

describe('nginxConfig', () => {
  it('listens for both families at every port and answers with its name', () => {
    const paths = { folder: '/f', pidFile: '/f/pid', errorLog: '/f/error', accessLog: '/f/access' };
    const text = nginxConfig(backend, paths);
    for (const part of ['listen 80 ', 'listen [::]:80 ', 'listen 8080 ', 'listen [::]:8080 ']) {
      expect(text).toContain(part);
    }
    expect(text).toContain('return 200 "b1 $remote_addr\\n"');
  });
});

describe('starterConfig', () => {
  it('has the host, its speaker and the routers', () => {
    expect(parse(starterConfig(twoTor, host, { interfaceName: 'eth0' }))).toEqual({
      version: 1,
      host: { interface: 'eth0', bgp: { as: 65011, routerId: '10.77.0.11' } },
      peers: [
        { address: '10.77.0.1', as: 65000, holdTime: '3s' },
        { address: '10.77.0.2', as: 65000, holdTime: '3s' },
      ],
      vips: [],
    });
  });

  it('has each VIP for both families over all backends', () => {
    const { vips } = parse(starterConfig(twoTor, host, { interfaceName: 'eth0', vips: twoTor.vips })) as {
      vips: { name: string; address: string; backends: { address: string }[] }[];
    };
    expect(vips.map(({ name }) => name)).toEqual(['web', 'web-ipv6', 'app', 'app-ipv6']);
    expect(vips[1]?.backends.map(({ address }) => address)).toEqual(['fd77::21', 'fd77::22', 'fd77::23']);
  });

  it.each([[[]], [twoTor.vips]])('is a configuration that l4d accepts', (vips) => {
    const text = starterConfig(twoTor, host, { interfaceName: 'eth0', vips });
    expect(parseConfigText(text, 'l4d.yaml')).toMatchObject({ ok: true });
  });
});
