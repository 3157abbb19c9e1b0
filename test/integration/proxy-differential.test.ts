import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { requestTables } from '@l4d/l7/core/http1/testing/tables.ts';
import { nextRequest, type RequestRow } from '@l4d/l7/core/http1/testing/wire-row.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeHaproxy, writeNginx } from './proxy/differential/peer-proxies.ts';
import type { Recorded } from './proxy/differential/recorder.ts';
import type { Answered, SentRow } from './proxy/differential/send-rows.ts';
import { backend4, buildFabric, type Fabric, type Running, until, vip4 } from './proxy/fabric.ts';

/*
 * The rows of the codec's tables through this proxy, nginx and HAProxy, each before backends that write down what they
 * get: a port a row, so that what is forwarded is known to be of that row. Where they differ is a page of the documentation;
 * `UPDATE_DIFFERENCES=1` writes it anew.
 */

const page = new URL('../../docs/http1-strictness.md', import.meta.url).pathname;
const proxies = ['l4d', 'nginx', 'HAProxy'] as const;
type Proxy = (typeof proxies)[number];

const rows = requestTables.flatMap((table) => table.rows.map((row) => ({ table: table.name, ...row })));
const count = rows.length;
const clientPort = { l4d: 20_000, nginx: 21_000, HAProxy: 22_000 } as const;
const backendPort = { l4d: 23_000, nginx: 23_000, HAProxy: 24_000 } as const;

/** What one proxy did with one row. */
interface Verdict {
  readonly forwarded: readonly string[];
  readonly unreadable: readonly string[];
  /** Status of a refusal; 0: ended without an answer; undefined: not refused. */
  readonly refused: number | undefined;
}

let fabric: Fabric;
const verdicts = new Map<Proxy, readonly Verdict[]>();

beforeAll(async () => {
  fabric = buildFabric();
  fabric.loadLookup();
  const record = (where: 'startOnClient' | 'startOnBackend', address: string, port: number, ports: number) =>
    fabric[where](
      [process.execPath, 'test/integration/proxy/differential/recorder.ts', address, `${port}`, `${ports}`],
      'listening',
    );
  const ports = (proxy: Proxy) => ({ clients: clientPort[proxy], backends: backendPort[proxy], count });
  const [ours, nginxs, haproxys] = await Promise.all([
    record('startOnBackend', backend4, backendPort.l4d, count),
    record('startOnClient', '127.0.0.1', backendPort.nginx, count),
    record('startOnClient', '127.0.0.1', backendPort.HAProxy, count),
    fabric.startOnClient(['nginx', '-c', writeNginx(fabric.runDir, ports('nginx'))], 'using the "epoll"'),
    fabric.startOnClient(
      ['haproxy', '-db', '-V', '-f', writeHaproxy(fabric.runDir, ports('HAProxy'))],
      'epoll',
    ),
    fabric.startProxy(),
  ]);
  for (let i = 0; i < count; i++) fabric.listen(vip4, clientPort.l4d + i);
  await fabric.proxy.putDesired({
    workers: 1,
    listeners: rows.map((_, i) => ({
      name: `row${i}`,
      address: vip4,
      port: clientPort.l4d + i,
      pools: [{ name: 'default', backends: [{ address: backend4, port: backendPort.l4d + i }] }],
    })),
  });
  await until(async () => (await fabric.proxy.status()).registered, 'registered');

  const sent: SentRow[] = proxies.flatMap((proxy) =>
    rows.map(({ bytes }, i) => ({
      address: proxy === 'l4d' ? vip4 : '127.0.0.1',
      port: clientPort[proxy] + i,
      text: bytes + nextRequest,
    })),
  );
  const { stdout } = await fabric.client(
    [process.execPath, 'test/integration/proxy/differential/send-rows.ts'],
    Buffer.from(JSON.stringify(sent)),
  );
  const answered = JSON.parse(stdout.toString()) as Answered[];
  const recorded = await Promise.all([ours, nginxs, haproxys].map(dump));
  for (const [index, proxy] of proxies.entries()) {
    const answers = answered.slice(index * count, (index + 1) * count);
    verdicts.set(
      proxy,
      answers.map((answer, i) => verdict(answer, recorded[index]?.[i])),
    );
  }
});

afterAll(() => fabric?.stop());

async function dump(recorder: Running): Promise<Recorded[]> {
  const ended = once(recorder.process, 'close');
  recorder.process.kill('SIGTERM');
  await ended;
  return JSON.parse(recorder.output().trim().split('\n').at(-1) ?? '') as Recorded[];
}

function verdict({ codes, ended }: Answered, recorded: Recorded | undefined): Verdict {
  const { requests = [], unreadable = [] } = recorded ?? {};
  const code = codes.find((one) => one >= 400 || one === 302);
  const refused = code ?? (ended && requests.length === 0 ? 0 : undefined);
  return { forwarded: requests, unreadable, refused };
}

const wantedOf = ({ expected, lasts }: RequestRow) => (lasts ? [...expected, 'GET /next'] : expected);

test('this proxy does with every row what the table says, and forwards nothing that has two meanings', () => {
  const told = verdicts.get('l4d') ?? [];
  expect(told.map(({ forwarded, refused }, i) => [rows[i]?.name, ...forwarded, refused])).toEqual(
    rows.map((row) => {
      const wanted = wantedOf(row);
      const status = wanted.find((one) => typeof one === 'number' && one >= 400);
      return [row.name, ...wanted.filter((one) => typeof one === 'string'), status];
    }),
  );
  expect(told.flatMap(({ unreadable }) => unreadable)).toEqual([]);
});

/** A verdict in a few words. */
function words({ forwarded, unreadable, refused }: Verdict, row: RequestRow): string {
  const wanted = wantedOf(row).filter((one) => typeof one === 'string');
  const got = forwarded.map((one) => (one.length > 60 ? `${one.slice(0, 57)}...` : one));
  const code = refused === 0 ? 'closed' : refused === undefined ? '' : String(refused);
  if (row.varies === true && forwarded.every((one) => one === 'GET /next') && refused !== undefined)
    return 'refused, or forwarded though not valid, as the bytes arrive';
  if (unreadable.length > 0) return 'forwarded, though not valid';
  if (forwarded.length === 0) return code === '' ? 'waits for more' : code;
  const answers = row.expected.some((one) => one === 200);
  if (answers && forwarded.length === wanted.length) return code === '' ? 'answered' : code;
  if (code === '' && wanted.length > 0 && JSON.stringify(forwarded) === JSON.stringify(wanted))
    return 'taken';
  const ends = code === '' ? '' : `, then ${code}`;
  return `forwarded ${got.map((one) => `\`${printable(one)}\``).join(', ')}${ends}`;
}

const printable = (text: string) =>
  JSON.stringify(text).slice(1, -1).replaceAll('|', '\\|').replaceAll('`', "'");

/** Rows in which somebody refuses and somebody does not, or in which different requests are forwarded. */
function differences() {
  return rows.flatMap((row, i) => {
    const told = proxies.map((proxy) => verdicts.get(proxy)?.[i] as Verdict);
    const said = told.map((one, index) => words(one, index === 0 ? { ...row, varies: false } : row));
    const kinds = said.map((one) => (/^(?:\d+|closed)$/.test(one) ? 'refused' : one));
    if (new Set(kinds).size === 1) return [];
    return [{ row, cells: said }];
  });
}

test('where nginx and HAProxy do otherwise, the table says why', () => {
  const unexplained = differences().filter(({ row }) => row.why === undefined);
  expect(unexplained.map(({ row, cells }) => `${row.table}: ${row.name}: ${cells.join(' | ')}`)).toEqual([]);
});

test('the page of differences is what was seen', () => {
  const version = (command: readonly [string, string], pattern: RegExp) =>
    pattern.exec(execFileSync('sh', ['-c', `${command.join(' ')} 2>&1`]).toString())?.[1] ?? '';
  const nginx = version(['nginx', '-v'], /nginx\/(\d+\.\d+)/);
  const haproxy = version(['haproxy', '-v'], /version (\d+\.\d+)/);
  const found = differences();
  const text = `# Where requests are read more strictly, or otherwise

Generated by \`test/integration/proxy-differential.test.ts\`: ${count} rows of bytes (\`l7/src/core/http1/testing\`) are sent to this proxy,
nginx ${nginx} and HAProxy ${haproxy}, each as it is configured by default, before backends that write down what they get. In
${count - found.length} rows all three say the same: the same requests are forwarded, or all refuse. These are the others. A number is the
status of a refusal; *answered*: by the proxy in the place of the backend; *forwarded, though not valid*: the backend
gets what no RFC allows, and has to judge for itself.

What this proxy forwards is read by strict readers of others too, llhttp (of Node) and h11 (\`test/integration/proxy-readers.test.ts\`): they
find the same requests in it. Suites of others for HTTP/1 or for WebSocket were looked for as packages and are not to be had: llhttp and
http-parser-js leave their cases out of what they publish, h1spec, http-garden and autobahntestsuite are on neither the npm registry nor in Debian.

${requestTables
  .flatMap(({ name }) => {
    const own = found.filter(({ row }) => row.table === name);
    if (own.length === 0) return [];
    const lines = own.map(
      ({ row, cells }) => `| ${row.rfc} | ${printable(row.name)} | ${cells.join(' | ')} | ${row.why} |`,
    );
    return [
      `## ${name[0]?.toUpperCase()}${name.slice(1)}\n\n| RFC | what | l4d | nginx | HAProxy | why |\n|---|---|---|---|---|---|\n${lines.join('\n')}\n`,
    ];
  })
  .join('\n')}`;
  if (process.env['UPDATE_DIFFERENCES'] !== undefined) writeFileSync(page, text);
  const written = readFileSync(page, 'utf8');
  // Other versions of the others may do otherwise.
  if (!written.includes(`nginx ${nginx} and HAProxy ${haproxy},`)) return;
  expect(text).toBe(written);
});
