import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { FabricStatus } from '@l4d/l4d/core/status.ts';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { repositoryRoot } from '../../tools/lab/io/build-lab.ts';
import { createLoneHost, eventually, goodConfig, type LoneHost, said } from './support/lone-host.ts';
import { ipIn } from './support/network-namespace.ts';

let host: LoneHost;

beforeAll(() => {
  host = createLoneHost('l4dmach');
});
afterAll(() => host?.remove());
afterEach(() => host.reset());

const good = () => host.write('good.yaml', goodConfig());
const stateFolder = () => host.environment['L4D_STATE_DIR'] ?? '';
const runFolder = () => host.environment['L4D_RUN_DIR'] ?? '';

async function status(): Promise<FabricStatus> {
  return JSON.parse((await host.run('l4ctl', '-o', 'json', 'status')).stdout) as FabricStatus;
}

/** Runs a shell line on the host in a mount namespace of its own: what it hides is hidden from nobody else. */
const runWithMounts = (line: string) => host.run('unshare', '-m', 'sh', '-c', line);

/** Programs attached to a device, as `ip` sees them. */
const xdpOf = (device: string) => /xdp\w*/.exec(ipIn(host.namespaces.host, `link show dev ${device}`))?.[0];

describe('a machine without libbpf', () => {
  it('is told which package brings it', async () => {
    const library = realpathSync(
      `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/libbpf.so.1`,
    );
    const answer = await runWithMounts(`mount --bind /dev/null ${library} && exec l4d run -c ${good()}`);
    expect(said(answer.stderr)).toEqual([
      'l4d: libbpf.so.1 is not installed; l4d loads its kernel programs through it (Debian: apt-get install libbpf1)',
    ]);
    expect(answer.code).toBe(71);
    const check = await runWithMounts(`mount --bind /dev/null ${library} && exec l4d check ${good()}`);
    expect(check.code).toBe(0);
  });
});

describe('a user who is not root', () => {
  it('is told so, by each program', async () => {
    const file = good();
    chmodSync(host.folder, 0o755);
    const root = repositoryRoot;
    for (const [argv, says] of [
      [
        ['l4d/bin/start.mjs', 'run', '-c', file],
        'l4d: l4d needs root: it loads programs into the kernel and changes routes',
      ],
      [['l4d/bin/start.mjs', 'detach', '--all'], 'l4d: this needs root'],
    ] as const) {
      const [program, ...rest] = argv;
      const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath];
      const answer = await host.run(...nobody, join(root, program), ...rest);
      expect(answer.stderr).toBe(`${says}\n`);
      expect(answer.code).toBe(77);
    }
  });

  it('is told by l4ctl that the socket is not for him', async () => {
    await host.start('-c', good());
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath];
    const answer = await host.run(...nobody, join(repositoryRoot, 'tools/l4ctl/start.mjs'), 'status');
    expect(answer.stderr).toBe(
      `l4ctl: ${runFolder()}/l4d.sock may not be used by this user: run l4ctl as root\n`,
    );
    expect(answer.code).toBe(77);
  });
});

describe('an interface without native XDP', () => {
  it('is served in generic mode; the log and the status say so', async () => {
    const daemon = await host.start('-c', good());
    expect(await host.untilServed()).toBe('backend');
    expect(xdpOf('br0')).toBe('xdpgeneric');
    expect(daemon.log()).toContainEqual(
      expect.objectContaining({
        level: 40,
        interface: 'br0',
        msg: 'the driver cannot run XDP natively: attached in generic mode, which forwards several times slower',
      }),
    );
    const text = (await host.run('l4ctl', 'status')).stdout;
    expect(text).toContain('host       br0, XDP generic\n');
    expect(text).toContain(
      '! generic XDP mode: the driver has no native one, forwarding is several times slower\n',
    );
  });

  it('is refused when native mode is asked for', async () => {
    const file = host.write('native.yaml', goodConfig({ host: 'interface: br0, xdpMode: native' }));
    const answer = await host.run('l4d', 'run', '-c', file);
    expect(said(answer.stderr)).toEqual([
      'l4d: cannot attach XDP in native mode to br0: ENOTSUP; host.xdpMode: auto would fall back to generic mode',
    ]);
    expect(answer.code).toBe(71);
    expect(xdpOf('br0')).toBeUndefined();
  });

  it('goes on in the mode that it has when another is wanted of it, and says so', async () => {
    await host.start('-c', good());
    expect(await host.untilServed()).toBe('backend');
    const file = host.write('native.yaml', goodConfig({ host: 'interface: br0, xdpMode: native' }));
    expect((await host.run('l4ctl', 'apply', '-f', file)).code).toBe(0);
    const warnings = [
      'XDP runs in generic mode, wanted is native: a mode is chosen when the program is attached ' +
        '(l4d detach --all, then l4d attach --all)',
    ];
    expect((await status()).host).toMatchObject({ xdpMode: 'generic', warnings });
    // What a change has to weigh is told with it: of the VIP that it adds, and not of what stays.
    const added = await host.run(
      'l4ctl',
      'vip',
      'add',
      '203.0.113.99:80',
      '-b',
      '192.0.2.99',
      '--name',
      'far',
    );
    expect(added.stdout).toMatch(
      /^! VIP "far": backend 192\.0\.2\.99 is .*\nvip far added \(revision \d+\)\n$/,
    );
    const changed = await host.run('l4ctl', 'vip', 'disable', 'web');
    expect(changed.stdout).toMatch(/^vip web disabled/);
    expect((await host.run('l4ctl', 'vip', 'enable', 'web')).code).toBe(0);
    expect(await host.ask()).toBe('backend');
  });

  it('that can do it natively is served natively, without a warning', async () => {
    await host.start('-c', host.write('eth0.yaml', goodConfig({ host: 'interface: eth0' })));
    expect(xdpOf('eth0')).toBe('xdp');
    expect((await status()).host).toEqual(expect.not.objectContaining({ warnings: expect.anything() }));
  });
});

describe('the wrong interface', () => {
  it.each([
    ['nope0', 'host.interface: there is no interface "nope0" (this host has: lo, br0, pc, pb, eth0)'],
    ['lo', 'host.interface: lo has no Ethernet address'],
    [
      'auto',
      'host.interface: there is no default route to find the interface by (this host has: lo, br0, pc, pb, eth0)',
    ],
  ])('%s is refused, and the configuration with it', async (name, says) => {
    const answer = await host.run(
      'l4d',
      'run',
      '-c',
      host.write('if.yaml', goodConfig({ host: `interface: ${name}` })),
    );
    expect(answer.stderr).toBe(`l4d: ${says}\n`);
    expect(answer.code).toBe(71);
    expect(readdirSync(join(stateFolder(), 'desired'))).toEqual([]);
  });

  it('is refused to a running daemon', async () => {
    await host.start('-c', good());
    const before = await status();
    const file = host.write('other.yaml', goodConfig({ host: 'interface: nope0' }));
    const answer = await host.run('l4ctl', 'apply', '-f', file);
    expect(answer.stderr).toContain('host.interface: there is no interface "nope0"');
    expect(answer.code).toBe(78);
    expect((await status()).revision).toBe(before.revision);
  });
});

describe("somebody else's XDP program", () => {
  afterEach(() => ipIn(host.namespaces.host, 'link set dev br0 xdp off'));

  it('is left in place, and named with the way to remove it', async () => {
    ipIn(
      host.namespaces.host,
      `link set dev br0 xdp obj ${join(repositoryRoot, 'bpf/build/pass.bpf.o')} sec xdp.frags`,
    );
    const before = ipIn(host.namespaces.host, 'link show dev br0');
    const answer = await host.run('l4d', 'run', '-c', good());
    expect(said(answer.stderr)).toEqual([
      'l4d: interface br0 already runs another XDP program (ip link show br0); ' +
        'remove it (ip link set br0 xdp off, or detach its link) or choose another interface',
    ]);
    expect(answer.code).toBe(71);
    expect(ipIn(host.namespaces.host, 'link show dev br0')).toBe(before);
  });
});

describe('folders that cannot be written', () => {
  it('are named, whichever it is', async () => {
    const file = good();
    for (const [flag, folder] of [
      ['--state-dir', stateFolder()],
      ['--run-dir', runFolder()],
    ] as const) {
      for (const each of [stateFolder(), runFolder()]) mkdirSync(each, { recursive: true });
      const readOnly = `mount --bind ${folder} ${folder} && mount -o remount,ro,bind ${folder}`;
      const answer = await runWithMounts(`${readOnly} && exec l4d run -c ${file}`);
      expect(answer.stderr).toBe(
        `l4d: the folder ${folder} cannot be written: EROFS (another one: ${flag})\n`,
      );
      expect(answer.code).toBe(71);
    }
  });

  it('a file where a folder should be is named', async () => {
    rmSync(stateFolder(), { recursive: true, force: true });
    writeFileSync(stateFolder(), '');
    const answer = await host.run('l4d', 'run');
    expect(answer.stderr).toBe(
      `l4d: the folder ${stateFolder()} cannot be written: EEXIST (another one: --state-dir)\n`,
    );
    expect(answer.code).toBe(71);
    rmSync(stateFolder());
  });

  it('a folder for pins outside a bpffs is named', async () => {
    const folder = join(host.folder, 'bpf');
    const answer = await host.run('l4d', '--bpf-dir', folder, 'run', '-c', good());
    expect(said(answer.stderr)).toEqual([
      `l4d: ${folder} is not in a bpffs; mount one: mount -t bpf bpf /sys/fs/bpf`,
    ]);
    expect(answer.code).toBe(71);
  });
});

describe('stored state that is damaged', () => {
  const damage = (name: string, text: string) => writeFileSync(join(stateFolder(), name), text);

  it('is set aside and told; the revision before it is in force', async () => {
    const first = await host.start('-c', good());
    await host.run('l4ctl', 'backend', 'weight', 'web', '10.88.0.21', '7');
    first.process.kill('SIGKILL');
    await first.ended;
    const journal = readFileSync(join(stateFolder(), 'desired/1.journal'), 'utf8');
    damage('desired/1.journal', journal.replace('"revision":2', '"revision":3'));
    const second = await host.start();
    const aside = join(stateFolder(), 'desired/1.journal.corrupt');
    expect(second.log()).toContainEqual(
      expect.objectContaining({ level: 50, path: aside, msg: 'a stored state was unreadable and set aside' }),
    );
    expect(existsSync(aside)).toBe(true);
    expect((await status()).revision).toBe(1);
    expect(await host.ask()).toBe('backend');
  });

  it('altogether: the configuration file is taken again', async () => {
    const first = await host.start('-c', good());
    first.process.kill('SIGKILL');
    await first.ended;
    damage('desired/1.json', 'garbage');
    const second = await host.start('-c', good());
    expect(second.log()).toContainEqual(expect.objectContaining({ level: 50 }));
    expect((await status()).revision).toBe(2);
    expect((await status()).vips.map(({ name }) => name)).toEqual(['web']);
    expect(await host.ask()).toBe('backend');
  });

  it('is told when it is what was remembered of health', async () => {
    const first = await host.start('-c', good());
    expect(await host.untilServed()).toBe('backend');
    first.process.kill('SIGKILL');
    await first.ended;
    damage('runtime.json', '{"verdicts":');
    const second = await host.start();
    expect(second.log()).toContainEqual(
      expect.objectContaining({
        level: 40,
        path: join(stateFolder(), 'runtime.json'),
        msg: 'the runtime state is not readable: health is found out anew',
      }),
    );
    expect(await host.untilServed()).toBe('backend');
  });

  it('is not guessed at when it is what the operator took out', async () => {
    mkdirSync(stateFolder(), { recursive: true });
    damage('detached.json', 'x');
    const answer = await host.run('l4d', 'run', '-c', good());
    expect(said(answer.stderr)).toEqual([
      `l4d: ${stateFolder()}/detached.json is damaged; remove it to take everything back into the packet path`,
    ]);
    expect(answer.code).toBe(1);
  });
});

describe("the announcer's socket in foreign hands", () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.close();
    server = undefined;
  });

  const withBgp = () =>
    goodConfig({
      host: 'interface: br0, bgp: { as: 65001, routerId: 10.88.0.11 }',
      more: 'peers: [{ address: 10.88.0.1, as: 65000 }]\n',
    });

  it('does not stop forwarding; the status says what is wrong', async () => {
    mkdirSync(runFolder(), { recursive: true });
    const socketPath = join(runFolder(), 'announcer.sock');
    server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno'));
    }).listen(socketPath);
    await host.start('-c', host.write('bgp.yaml', withBgp()));
    expect(await host.untilServed()).toBe('backend');
    const { bgp, vips } = await eventually(status, (now) => now.bgp.state === 'down');
    expect(bgp).toEqual({
      state: 'down',
      reason: 'the announcer does not answer: the announcer answered 404 to POST /v1/heartbeat',
    });
    expect(vips[0]?.announced).toBe(false);
    const text = (await host.run('l4ctl', 'status')).stdout;
    expect(text).toContain(
      'bgp        down: the announcer does not answer: the announcer answered 404 to POST /v1/heartbeat\n',
    );
  });

  it('that never answers is no hindrance either', async () => {
    mkdirSync(runFolder(), { recursive: true });
    server = createServer(() => undefined).listen(join(runFolder(), 'announcer.sock'));
    await host.start('-c', host.write('bgp.yaml', withBgp()));
    expect(await host.untilServed()).toBe('backend');
    expect((await status()).bgp.state).toBe('down');
  });
});
