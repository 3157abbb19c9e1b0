/** Checks of a service beside us: gRPC health against etcd's own, programs, and what the kernel says of listeners. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { localCheckSchema } from '@l4d/health/core/local-check.ts';
import type { CheckOutcome } from '@l4d/health/core/verdict.ts';
import { createHealthChecker, type HealthChecker } from '@l4d/health/io/health-checker.ts';
import { systemClock } from '@l4d/kit/clock.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import { watchListeningSockets } from '@l4d/kit/netlink/listening-sockets.ts';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createHealthLab, type HealthLab, waitForPort } from './support/health-lab.ts';
import { enterNamespace, eventually } from './support/network-namespace.ts';

let lab: HealthLab;
let leave: () => void;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'l4d-local-checks-'));
  lab = createHealthLab();
  const at = 'http://10.76.0.21';
  lab.start(
    lab.one,
    'etcd',
    ...['--data-dir', join(folder, 'etcd'), '--log-level', 'error'],
    ...['--listen-client-urls', `${at}:2379`, '--advertise-client-urls', `${at}:2379`],
    ...['--listen-peer-urls', `${at}:2380`, '--initial-advertise-peer-urls', `${at}:2380`],
    ...['--initial-cluster', `default=${at}:2380`],
  );
  leave = enterNamespace(lab.balancer);
  await waitForPort('10.76.0.21', 2379);
});

afterAll(() => {
  leave?.();
  lab?.remove();
  rmSync(folder, { recursive: true, force: true });
});

/** The last outcome of a check, once there is one that `isWanted`. */
async function outcomeOf(
  check: Record<string, unknown>,
  isWanted: (outcome: CheckOutcome) => boolean,
  where = { address: '10.76.0.21', port: 2379 },
): Promise<string> {
  const checker: HealthChecker = createHealthChecker({
    clock: systemClock,
    logger: createLogger('local-checks-test'),
    random: Math.random,
    onVerdict: () => {},
  });
  try {
    checker.setTargets([
      {
        key: 'it',
        address: ipAddress(where.address),
        port: where.port,
        check: localCheckSchema.decode({ interval: '300ms', timeout: '250ms', ...check } as never),
      },
    ]);
    const last = () => checker.status('it')?.history.at(-1);
    await eventually('the outcome wanted', () => {
      const record = last();
      return record !== undefined && isWanted(record);
    });
    return last()?.reason ?? '';
  } finally {
    checker.stop();
  }
}

const isGood = ({ kind }: CheckOutcome) => kind === 'good';
const isBad = ({ kind }: CheckOutcome) => kind === 'bad';

describe('gRPC health', () => {
  it('SERVING of a real server is good', async () => {
    expect(await outcomeOf({ type: 'grpc' }, isGood)).toBe('gRPC: SERVING');
  });

  it('a service that the server does not know is bad, in the words of the server', async () => {
    expect(await outcomeOf({ type: 'grpc', service: 'no.such.Service' }, isBad)).toMatch(
      /^gRPC: status 5, unknown service/,
    );
  });

  it('TLS to a server without it, and a closed port, are bad', async () => {
    expect(await outcomeOf({ type: 'grpc', tls: true }, isBad)).toMatch(/^TLS: /);
    expect(await outcomeOf({ type: 'grpc', port: 2999 }, isBad)).toBe('connect: connection refused');
  });
});

describe('a program', () => {
  it('that ends with 0 is good, otherwise bad, with what it said first', async () => {
    expect(await outcomeOf({ type: 'exec', command: ['true'] }, isGood)).toBe('true ended with 0');
    expect(await outcomeOf({ type: 'exec', command: ['sh', '-c', 'echo full; exit 3'] }, isBad)).toBe(
      'sh ended with 3: full',
    );
    expect(await outcomeOf({ type: 'exec', command: ['no-such-program'] }, isBad)).toContain('ENOENT');
    // A supervisor would take what it says there for the word of the service that asks.
    const command = ['sh', '-c', 'echo $NOTIFY_SOCKET$WATCHDOG_USEC of $HOME; exit 1'];
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC']) vi.stubEnv(name, '/run/nobody');
    try {
      expect(await outcomeOf({ type: 'exec', command }, isBad)).toBe(
        `sh ended with 1: of ${process.env['HOME']}`,
      );
    } finally {
      vi.unstubAllEnvs();
    }
    // Read for as long as it writes, it would take the processor from the sessions.
    expect(await outcomeOf({ type: 'exec', command: ['yes'] }, isBad)).toBe(
      'yes writes more than 65536 bytes',
    );
  });

  it('that takes too long is ended with all that it has started', async () => {
    const pids = join(folder, 'pids');
    const command = ['sh', '-c', `sleep 600 & echo $$ $! >> ${pids}; wait`];
    expect(await outcomeOf({ type: 'exec', command }, isBad)).toBe('sh: no answer within 250ms');
    const started = readFileSync(pids, 'utf8').trim().split(/\s+/).map(Number);
    expect(started.length).toBeGreaterThanOrEqual(2);
    await eventually('all are gone', () => !started.some((pid) => existsSync(`/proc/${pid}/exe`)));
  });
});

describe('listening sockets', () => {
  it('are seen, and their end is told at once', async () => {
    const server = createServer().listen(2998, '127.0.0.1');
    const ends: number[] = [];
    const stop = watchListeningSockets('tcp', [2997, 2998], (ended) => ends.push(ended?.port ?? 0));
    try {
      const where = { address: '127.0.0.1', port: 2998 };
      expect(await outcomeOf({ type: 'listening' }, isGood, where)).toContain('tcp port 2998');
      const other = createServer().listen(2996, '127.0.0.1');
      await eventually('the other listens', () => other.listening);
      other.close();
      await waitForPort('127.0.0.1', 2998);
      expect(ends).toEqual([]);
      server.close();
      await eventually('its end is told', () => ends.length > 0);
      expect(ends).toEqual([2998]);
      expect(await outcomeOf({ type: 'listening' }, isBad, where)).toBe(
        'no process listens on tcp port 2998 of 127.0.0.1',
      );
    } finally {
      stop();
      server.close();
    }
  });
});
