import { createLogger } from '@l4d/kit/logger.ts';
import { parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { createTestAuthority } from '@l4d/kit/tls/test-authority.ts';
import koffi from 'koffi';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { compilePolicy } from '../../core/policy.ts';
import { TlsListeners } from './listener-tls.ts';

function tableOf(...certificates: { cert: string; key: string; ocsp?: string }[]) {
  const listener = { name: 'web', address: '192.0.2.1', port: 443, tls: { certificates } };
  const desired = parseProxyDesired({ listeners: [listener] });
  if (!desired.ok) throw new Error(JSON.stringify(desired.error));
  return compilePolicy(desired.value);
}

it('leaves out an OCSP response once when it ends, and makes only the contexts that have changed', () => {
  const authority = createTestAuthority();
  try {
    const a = authority.issue('a.example');
    const b = authority.issue('b.example');
    // After the certificates were made: they must not begin later than this.
    let now = Date.now();
    const listeners = new TlsListeners(createLogger('test'), () => now);
    const ocsp = {
      a: authority.ocsp('a.example', { minutes: 60 }),
      b: authority.ocsp('b.example', { minutes: 600 }),
    };
    const table = tableOf({ ...a, ocsp: ocsp.a }, { ...b, ocsp: ocsp.b });
    listeners.use(table);
    const [entry] = [...table.keys()].map((key) => listeners.get(key));
    if (entry?.contexts === undefined) throw new Error('no contexts');
    const { contexts } = entry;
    const before = new Map(contexts.names.exact);
    for (let i = 0; i < 3; i++) listeners.poll();
    expect(entry.status).toMatchObject({ reloads: 0, warnings: [], serving: true });
    now += 2 * 3_600_000;
    for (let i = 0; i < 3; i++) listeners.poll();
    expect(entry.status).toMatchObject({
      reloads: 1,
      warnings: [expect.stringContaining('it has ended on')],
    });
    authority.issue('b.example');
    for (let i = 0; i < 3; i++) listeners.poll();
    expect(entry.status.reloads).toBe(2);
    expect(contexts.names.exact.get('a.example')).toBe(before.get('a.example'));
    expect(contexts.names.exact.get('b.example')).not.toBe(before.get('b.example'));
    // A declaration of which nothing can be made leaves in force what was.
    const next = tableOf({ ...a, key: b.key });
    listeners.use(next);
    const changed = listeners.get([...next.keys()][0] ?? '');
    expect(changed?.contexts).toBe(contexts);
    expect(changed?.status.problem).toContain('is not the key of');
  } finally {
    authority.remove();
  }
});

it('says of refused files whether something else is in force', () => {
  const authority = createTestAuthority();
  try {
    const lines: string[] = [];
    const log = pino({ level: 'error' }, { write: (line) => void lines.push(JSON.parse(line).msg) });
    const a = authority.issue('a.example');
    const b = authority.issue('b.example');
    const wrong = { ...a, key: b.key };
    const listeners = new TlsListeners(log);
    const stays = 'TLS files refused: what was in force stays in force';
    listeners.use(tableOf(wrong));
    expect(lines.splice(0)).toEqual(['TLS files refused: nothing is served']);
    listeners.use(tableOf(a));
    listeners.use(tableOf({ ...wrong, ocsp: '/nowhere' }));
    expect(lines.splice(0)).toEqual([stays]);
    listeners.use(tableOf(wrong));
    expect(lines.splice(0)).toEqual([stays]);
    listeners.use(new Map());
    listeners.use(tableOf(wrong));
    expect(lines.splice(0)).toEqual(['TLS files refused: nothing is served']);
  } finally {
    authority.remove();
  }
});

it('reads again what could not be read for want of descriptors', () => {
  const libc = koffi.load(null);
  const getLimit = libc.func('int getrlimit(int resource, void *limit)');
  const setLimit = libc.func('int setrlimit(int resource, const void *limit)');
  const RLIMIT_NOFILE = 7;
  const authority = createTestAuthority();
  const limit = new BigUint64Array(2);
  getLimit(RLIMIT_NOFILE, limit);
  try {
    let now = Date.now();
    const listeners = new TlsListeners(createLogger('test'), () => now);
    const table = tableOf(authority.issue('a.example'));
    listeners.use(table);
    const status = () => listeners.get([...table.keys()][0] ?? '')?.status;
    authority.issue('a.example');
    setLimit(RLIMIT_NOFILE, BigUint64Array.of(3n, limit[1] ?? 0n));
    for (let i = 0; i < 3; i++) listeners.poll();
    expect(status()).toMatchObject({ serving: true, failedReloads: 1 });
    expect(status()?.problem).toMatch(/cannot be read: EMFILE/);
    now += 6000;
    listeners.poll();
    expect(status()).toMatchObject({ failedReloads: 1 });
    setLimit(RLIMIT_NOFILE, limit);
    now += 6000;
    listeners.poll();
    expect(status()).toMatchObject({ reloads: 1, failedReloads: 1 });
    expect(status()?.problem).toBeUndefined();
  } finally {
    setLimit(RLIMIT_NOFILE, limit);
    authority.remove();
  }
});
