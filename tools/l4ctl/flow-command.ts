import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import type { FlowList, FlowView } from '@l4d/l4d/core/forwarding/flow-query.ts';
import type { Command } from 'commander';
import type { Ctl } from './ctl.ts';
import { renderTable } from './table.ts';

interface ListOptions {
  readonly vip?: string;
  readonly client?: string;
  readonly backend?: string;
  readonly limit?: string;
  readonly copies?: true;
}

/** `l4ctl flow`. */
export function addFlowCommands(program: Command, ctl: Ctl): void {
  const flow = program.command('flow').description('connections and flows that the kernel remembers');
  flow
    .command('ls', { isDefault: true })
    .description('who is connected to which VIP, by which backend, and for how long idle')
    .option('--vip <name>', 'of that VIP')
    .option('--client <address>', 'of that client: an address or a prefix')
    .option('--backend <address>', 'by that backend')
    .option('--limit <number>', 'at most so many, 1 to 10000 (default: 100)')
    .option('--copies', 'also the copies that CPUs have (host.flowTable per-cpu)')
    .action(async (options: ListOptions) => {
      const { copies, ...fields } = options;
      const list = await ask(ctl, { ...fields, ...(copies === undefined ? {} : { copies: 'true' }) });
      ctl.print(list, () => renderFlows(list));
    });
  flow
    .command('show')
    .argument('<client>', 'ADDRESS:PORT, IPv6 in brackets')
    .description('every entry about one client and port, in all tables')
    .action(async (client: string) => {
      const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(client);
      if (match === null)
        throw new OperatorError(
          `${JSON.stringify(client)} is no client (allowed: ADDRESS:PORT, as 198.51.100.7:40000 or [2001:db8::7]:40000)`,
          exitCode.usage,
        );
      const [, bracketed, plain, clientPort = ''] = match;
      const list = await ask(ctl, { client: bracketed ?? plain ?? '', clientPort, copies: 'true' });
      ctl.print(list, () => list.flows.map(renderFlow).join('\n') || `nothing is remembered of ${client}\n`);
    });
}

async function ask(ctl: Ctl, fields: Readonly<Record<string, string>>): Promise<FlowList> {
  const query = new URLSearchParams(fields).toString();
  return (await ctl.ask('GET', `/v1/flows${query === '' ? '' : `?${query}`}`)) as FlowList;
}

const endpoint = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

const columns = [
  { head: 'PROTOCOL' },
  { head: 'CLIENT' },
  { head: 'VIP' },
  { head: 'ADDRESS' },
  { head: 'BACKEND' },
  { head: 'STATE' },
  { head: 'IDLE', right: true },
  { head: 'LEFT', right: true },
  { head: 'TABLE' },
  { head: 'SEEN BY THE BACKEND AS' },
];

const vipEndpoint = ({ vipAddress, vipPort }: FlowView) =>
  vipAddress === undefined ? `port ${vipPort}` : endpoint(vipAddress, vipPort);

const backendText = ({ backend, nat }: FlowView) =>
  backend === undefined ? '-' : nat === undefined ? backend : endpoint(backend, nat.backendPort);

const tableText = ({ table, cpu }: FlowView) => (cpu === undefined ? table : `${table} ${cpu}`);

/** The table, and whether that was all. */
export function renderFlows({ flows, looked, truncated }: FlowList): string {
  const rows = flows.map((one) => [
    one.protocol,
    endpoint(one.client, one.clientPort),
    one.vip ?? '-',
    vipEndpoint(one),
    backendText(one),
    one.state,
    `${one.idleSeconds}s`,
    `${one.leftSeconds}s`,
    tableText(one),
    one.nat === undefined ? '' : endpoint(one.nat.source, one.nat.sourcePort),
  ]);
  const more = truncated ? ', there may be more: --limit, or narrower' : '';
  return `${renderTable(columns, rows)}${flows.length} of ${looked} entries that were looked at${more}\n`;
}

/** One entry in full. */
export function renderFlow(one: FlowView): string {
  const lines = [
    `${one.protocol} ${endpoint(one.client, one.clientPort)} -> ${vipEndpoint(one)} (${one.vip ?? 'no VIP'})`,
    `  backend  ${one.backend === undefined ? 'gone: its next packet is placed anew' : backendText(one)}`,
    `  state    ${one.state}, idle ${one.idleSeconds}s, forgotten in ${one.leftSeconds}s without a packet`,
    `  table    ${tableText(one)}`,
    ...(one.nat === undefined ? [] : [`  seen as  ${endpoint(one.nat.source, one.nat.sourcePort)}`]),
  ];
  return `${lines.join('\n')}\n`;
}
