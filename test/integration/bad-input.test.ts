import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { vipSchema } from '@l4d/l4d/core/desired/vip.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createLoneHost,
  goodConfig,
  type LoneHost,
  type StartedDaemon,
  said,
  vipAddress,
} from './support/lone-host.ts';

let host: LoneHost;

beforeAll(() => {
  host = createLoneHost('l4dbad');
});
afterAll(() => host?.remove());

async function revision(): Promise<number> {
  const answer = await host.run('l4ctl', '-o', 'json', 'status');
  return (JSON.parse(answer.stdout) as { revision: number }).revision;
}

/** Wrong documents, and the whole of what is said about each. */
const wrongDocuments = [
  {
    what: 'an unknown key',
    text: goodConfig().replace('port: 80', 'port: 80\n    prot: 80'),
    says: [
      `7:5: vips[0].prot: is not a known key (allowed: ${Object.keys(vipSchema.shape).join(', ')}) (did you mean "port"?)`,
    ],
  },
  {
    what: 'a bad address',
    text: goodConfig().replace(vipAddress, '203.0.113.300'),
    says: [
      '5:14: vips[0].address: "203.0.113.300" is not an IP address ' +
        '(allowed: IPv4 such as 192.0.2.10 or IPv6 such as 2001:db8::10)',
    ],
  },
  {
    what: 'a VIP declared twice',
    text: `${goodConfig()}  - { name: again, address: ${vipAddress}, port: 80, backends: [{ address: 10.88.0.21 }] }\n`,
    says: [
      `9:29: vips[1].address: ${vipAddress} port 80 tcp is already served by vips[0] ("web") ` +
        '(a VIP is one address, port and protocol: merge the backends or change one of the three)',
    ],
  },
  {
    what: 'a backend of another family',
    text: goodConfig().replace('10.88.0.21', 'fd00::21'),
    says: [
      `8:27: vips[0].backends[0].address: fd00::21 is IPv6, its VIP ${vipAddress} is IPv4 ` +
        "(allowed: the VIP's family) (forward: ipip, gue and vxlan, and policy l7, may have backends of another family)",
    ],
  },
  {
    what: 'a port above all',
    text: goodConfig().replace('port: 80', 'port: 70000'),
    says: ['6:11: vips[0].port: 70000 is not a port (allowed: 1 to 65535)'],
  },
  {
    what: 'a VIP without backends',
    text: goodConfig().replace('[{ address: 10.88.0.21 }]', '[]'),
    says: ['8:15: vips[0].backends: has no backends (allowed: at least one)'],
  },
  {
    what: 'broken YAML',
    text: goodConfig().replace('check: {', 'check: [{'),
    says: [
      '8:5: not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
    ],
  },
  {
    what: 'a document with two problems',
    text: goodConfig().replace('port: 80', 'port: 0').replace('rise: 1', 'rise: none'),
    says: [
      '6:11: vips[0].port: 0 is not a port (allowed: 1 to 65535)',
      '7:61: vips[0].check.rise: "none" is not a count (allowed: 1 to 100)',
    ],
  },
];

describe('a wrong configuration', () => {
  let daemon: StartedDaemon;

  beforeAll(async () => {
    daemon = await host.start('-c', host.write('good.yaml', goodConfig()));
    expect(await host.untilServed()).toBe('backend');
  });
  afterAll(() => host.reset());

  it.each(wrongDocuments)('$what is refused whole by l4ctl and l4d check', async ({ text, says }) => {
    const file = host.write('wrong.yaml', text);
    const expected = says.map((line) => `${file}:${line}`);
    const before = await revision();
    for (const command of [
      ['l4ctl', 'apply', '-f', file],
      ['l4ctl', 'diff', '-f', file],
      ['l4d', 'check', file],
    ]) {
      const answer = await host.run(...command);
      expect(said(answer.stderr), command.join(' ')).toEqual(expected);
      expect(answer.stdout).toBe('');
      expect(answer.code).toBe(78);
    }
    expect(await revision()).toBe(before);
    expect(await host.ask()).toBe('backend');
    expect(daemon.process.exitCode).toBeNull();
  });

  it('is refused by the API too, for callers without l4ctl', async () => {
    const before = await revision();
    const socket = join(host.environment['L4D_RUN_DIR'] ?? '', 'l4d.sock');
    const body = '{ "version": 1, "vips": [{ "address": "203.0.113.10", "port": 70000, "backends": [] }] }';
    const argv = ['curl', '-s', '--unix-socket', socket, '-X', 'PUT', 'http://l4d/v1/desired', '-d', body];
    const answer = JSON.parse((await host.run(...argv)).stdout) as { status: number; problems: unknown };
    expect(answer.status).toBe(400);
    expect(answer.problems).toEqual([
      { path: 'vips[0].port', message: '70000 is not a port (allowed: 1 to 65535)' },
      { path: 'vips[0].backends', message: 'has no backends (allowed: at least one)' },
    ]);
    expect(await revision()).toBe(before);
  });

  it('is refused by a start; what is stored and the traffic stay', async () => {
    const before = await revision();
    daemon.process.kill('SIGKILL');
    await daemon.ended;
    const stored = join(host.environment['L4D_STATE_DIR'] ?? '', 'desired');
    const files = readdirSync(stored);
    for (const { text, says } of wrongDocuments) {
      const file = host.write('wrong.yaml', text);
      const answer = await host.run('l4d', 'run', '-c', file);
      expect(answer.stderr.trim().split('\n')).toEqual(says.map((line) => `${file}:${line}`));
      expect(answer.code).toBe(78);
      expect(readdirSync(stored)).toEqual(files);
    }
    expect(await host.ask()).toBe('backend');
    daemon = await host.start();
    expect(await revision()).toBe(before);
    expect(await host.ask()).toBe('backend');
  });

  it('that cannot be read names the file', async () => {
    const answer = await host.run('l4d', 'check', '/nowhere/l4d.yaml');
    expect(answer.stderr).toBe(
      "/nowhere/l4d.yaml: cannot be read: ENOENT: no such file or directory, open '/nowhere/l4d.yaml'\n",
    );
    expect(answer.code).toBe(78);
  });
});

describe('a wrong command line', () => {
  it('says so in one line and ends with 2', async () => {
    for (const [command, says] of [
      [
        ['l4d', 'rnu'],
        ["error: unknown command 'rnu'", '(Did you mean run?)', '(l4d --help shows what is allowed)'],
      ],
      [['l4d', 'detach'], ['l4d: say either --all or --vip VIP']],
    ] as const) {
      const answer = await host.run(...command);
      expect(said(answer.stderr)).toEqual(says);
      expect(answer.code).toBe(2);
    }
  });
});

describe('no daemon', () => {
  it('is said by l4ctl, with how to start it', async () => {
    for (const command of [['status'], ['vip', 'ls'], ['backend', 'drain', 'web', '10.88.0.21']]) {
      const answer = await host.run('l4ctl', ...command);
      expect(answer.stderr).toBe(
        `l4ctl: l4d does not answer on ${host.environment['L4D_RUN_DIR']}/l4d.sock: the daemon is not running ` +
          '(start it with: l4d run; another place: --socket or L4D_RUN_DIR)\n',
      );
      expect(answer.code).toBe(69);
    }
  });

  it('is said also when a killed daemon left its socket', async () => {
    const daemon = await host.start('-c', host.write('good.yaml', goodConfig()));
    daemon.process.kill('SIGKILL');
    await daemon.ended;
    const answer = await host.run('l4ctl', 'status');
    expect(answer.stderr).toContain('the daemon is not running');
    expect(answer.code).toBe(69);
    await host.reset();
  });
});

describe('a second daemon', () => {
  it('ends with 75 and leaves the first alone', async () => {
    const daemon = await host.start('-c', host.write('good.yaml', goodConfig()));
    expect(await host.untilServed()).toBe('backend');
    const answer = await host.run('l4d', 'run');
    const folder = host.environment['L4D_RUN_DIR'];
    expect(answer.stderr).toBe(`l4d: another l4d is already running on ${folder}/l4d.sock\n`);
    expect(answer.code).toBe(75);
    expect(daemon.process.exitCode).toBeNull();
    expect(await revision()).toBe(1);
    await host.reset();
  });
});
