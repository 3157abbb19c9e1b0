import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ReplicaLab, replicaPort, replicaVip } from './replica-lab.ts';

/** What cares for one replica's VIP. */
export interface RunningSidecar {
  /** Takes the service out, or back in, as an operator would. */
  maintenance(on: boolean): void;
}

/** A kind of sidecar. */
export interface SidecarSubject {
  /** Name and version. */
  readonly subject: string;
  /** Why it cannot be measured. */
  readonly missing?: string;
  start(lab: ReplicaLab, replica: number): RunningSidecar;
}

/** The same for all: seconds, and answers in a row. */
const timing = { interval: 1, timeout: 0.5, rise: 1, fall: 2 };

const main = join(import.meta.dirname, '../../../announcer/bin/l4-announcer');

function ours(subject: string, bfd: string): SidecarSubject {
  return {
    subject,
    start(lab, replica) {
      const own = join(lab.folder, `l4d-${replica}`);
      mkdirSync(own, { recursive: true });
      const file = join(own, 'sidecar.yaml');
      writeFileSync(
        file,
        `as: 65001
routerId: 10.79.${replica}.2
peers: [{ address: 10.79.${replica}.1, as: 65000, holdTime: 9s${bfd} }]
services:
  - name: web
    vips: [${replicaVip}]
    port: ${replicaPort}
    checks:
      - { type: http, interval: ${timing.interval}s, timeout: ${timing.timeout * 1000}ms, rise: ${timing.rise}, fall: ${timing.fall} }
`,
      );
      const folders = ['--run-dir', own, '--state-dir', own];
      lab.startIn(`r${replica}`, main, ...folders, 'sidecar', '-c', file);
      return {
        maintenance: (on) =>
          void lab.runIn(`r${replica}`, main, ...folders, 'maintenance', on ? 'on' : 'off', 'web'),
      };
    },
  };
}

const systemPython = '/usr/bin/python3';

const exabgp: SidecarSubject = {
  subject: exabgpVersion(),
  ...(existsSync('/usr/sbin/exabgp') || existsSync('/usr/bin/exabgp')
    ? {}
    : { missing: 'exabgp is not installed' }),
  start(lab, replica) {
    const own = join(lab.folder, `exabgp-${replica}`);
    mkdirSync(own, { recursive: true });
    execFileSync('chmod', ['755', own]);
    const disabled = join(own, 'disabled');
    const command = `curl -sf -m ${timing.timeout} -o /dev/null http://127.0.0.1:${replicaPort}/`;
    const script = join(own, 'check.sh');
    writeFileSync(
      script,
      `exec ${systemPython} -m exabgp healthcheck --cmd '${command}' --ip ${replicaVip}/32 --withdraw-on-down \\
  --interval ${timing.interval} --fast-interval ${timing.interval} --timeout 1 --rise ${timing.rise} --fall ${timing.fall} \\
  --disable ${disabled} --name web --no-syslog
`,
    );
    writeFileSync(
      join(own, 'exabgp.conf'),
      `process check { run /bin/sh ${script}; encoder text; }
neighbor 10.79.${replica}.1 {
  router-id 10.79.${replica}.2; local-address 10.79.${replica}.2; local-as 65001; peer-as 65000; hold-time 9;
  family { ipv4 unicast; }
  api { processes [ check ]; }
}
`,
    );
    const settings = ['exabgp.daemon.user=root', 'exabgp.api.cli=false', 'exabgp.daemon.daemonize=false'];
    lab.startIn(`r${replica}`, 'env', ...settings, 'exabgp', join(own, 'exabgp.conf'));
    return {
      maintenance(on) {
        if (on) writeFileSync(disabled, '');
        else rmSync(disabled, { force: true });
      },
    };
  },
};

function exabgpVersion(): string {
  try {
    const text = execFileSync('sh', ['-c', 'exabgp --version 2>&1'], { encoding: 'utf8' });
    return `ExaBGP ${/ExaBGP : ([\d.]+)/.exec(text)?.[1] ?? ''} healthcheck`;
  } catch {
    return 'ExaBGP healthcheck';
  }
}

/** All, ours first. */
export const sidecarSubjects: readonly SidecarSubject[] = [
  ours('l4d', ''),
  ours('l4d with BFD 3 x 100 ms', ', bfd: { txInterval: 100ms, rxInterval: 100ms }'),
  exabgp,
  {
    subject: 'anycast-healthchecker',
    missing: 'neither in Debian nor on npm',
    start: () => ({ maintenance() {} }),
  },
];
