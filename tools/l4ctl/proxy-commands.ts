import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { ProxyStatus } from '@l4d/kit/proxy-api.ts';
import { createProxyClient, type ProxyClient } from '@l4d/kit/proxy-client.ts';
import type { Command } from 'commander';
import type { Ctl } from './ctl.ts';
import { renderTable } from './table.ts';

/** How long the daemon may take to start another supervisor. */
const successorMs = 20_000;

/** `l4ctl proxy …`: speaks to the proxy's supervisor itself, which the daemon need not notice. */
export function addProxyCommands(program: Command, ctl: Ctl): void {
  const proxy = program.command('proxy').description('the proxy of l7 VIPs and its workers: upgrade, renew');
  const ask = async <Answer>(question: (client: ProxyClient) => Promise<Answer>): Promise<Answer> => {
    const folder = dirname(ctl.socketPath());
    try {
      return await question(createProxyClient(folder));
    } catch (error) {
      if (error instanceof OperatorError) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new OperatorError(
        `the proxy does not answer on ${folder}/proxy.sock: ${why} (it runs while there are l7 VIPs)`,
        exitCode.unavailable,
      );
    }
  };
  proxy.action(async () => {
    const status = await ask((client) => client.status());
    ctl.print(status, () => proxyText(status));
  });
  proxy
    .command('upgrade')
    .description('renew the supervisor and then every worker; needs the daemon, which starts the new one')
    .action(async () => {
      const before = await ask((client) => client.leave());
      const end = performance.now() + successorMs;
      let pid = before;
      while (pid === before && performance.now() < end) {
        await sleep(100);
        pid = await ask(async (client) => (await client.status()).pid).catch(() => before);
      }
      if (pid === before) {
        const why = 'does l4d run? The workers serve on meanwhile';
        throw new OperatorError(`no other supervisor came within ${successorMs / 1000} s: ${why}`);
      }
      const renewed = await ask((client) => client.renew());
      ctl.print(
        { pid, renewed },
        () => `supervisor ${pid}; ${renewed} workers serve in the place of those before them\n`,
      );
    });
  proxy
    .command('renew')
    .description('replace every worker, one after another; no connection is refused')
    .action(async () => {
      const renewed = await ask((client) => client.renew());
      ctl.print({ renewed }, () => `${renewed} workers serve in the place of those before them\n`);
    });
}

/** The proxy, its workers and what each VIP had of clients. */
export function proxyText(status: ProxyStatus): string {
  const { pid, revision, registered, wantedWorkers, deaths, workers, listeners, unknownConnections } = status;
  const steered = registered ? 'connections are steered to its workers' : 'NO worker serves';
  const head = `supervisor ${pid}, revision ${revision}: ${steered}; ${wantedWorkers} wanted, ${deaths} died\n`;
  const columns = [
    { head: 'WORKER', right: true },
    { head: 'PID', right: true },
    { head: 'STATE' },
    { head: 'STARTED' },
    { head: 'OPEN', right: true },
    { head: 'CONNECTIONS', right: true },
    { head: 'REQUESTS', right: true },
  ];
  const rows = workers.map((worker) => [
    ...[String(worker.place), String(worker.pid), worker.state, worker.startedAt],
    ...[worker.activeConnections, worker.connections, worker.requests].map(String),
  ]);
  const unknown =
    unknownConnections === 0 ? '' : `${unknownConnections} connections for no VIP of the proxy were reset\n`;
  const vips = listeners.length === 0 ? '' : `\n${renderTable(vipColumns, listeners.map(vipRow))}`;
  return head + unknown + renderTable(columns, rows) + vips;
}

const vipColumns = [
  { head: 'VIP' },
  { head: 'OPEN', right: true },
  { head: 'CONNECTIONS', right: true },
  { head: 'REQUESTS', right: true },
  { head: 'DENIED', right: true },
  { head: 'UNSERVED', right: true },
];

function vipRow(listener: ProxyStatus['listeners'][number]): string[] {
  const { name, activeConnections, connections, requests, denied, unserved } = listener;
  return [name, ...[activeConnections, connections, requests, denied, unserved].map(String)];
}
