import type { Command } from 'commander';
import { type Fields, given, parseBackendArgument, parseNumberArgument } from './arguments.ts';
import { addBackendMachineCommands } from './backend-setup.ts';
import { printChange } from './change-answer.ts';
import { apiPath, type Ctl } from './ctl.ts';
import { backendTable, pendingBackends, type VipAnswer } from './vip-view.ts';

interface AddOptions {
  readonly forward?: string;
  readonly vni?: number;
  readonly remote?: string;
  readonly mac?: string;
}

/** `l4ctl backend …`. */
export function addBackendCommands(program: Command, ctl: Ctl): void {
  const backend = program
    .command('backend')
    .description(
      'servers behind a VIP: add, rm, ls, drain, undrain, weight; on a server itself: setup, teardown, decap',
    );
  const change = async (name: string, address: string, fields: Fields, done: string) => {
    const answer = await ctl.ask('PATCH', apiPath`/v1/vips/${name}/backends/${address}`, fields);
    printChange(ctl, answer, `backend ${address} of ${name} ${done}`);
  };
  backend
    .command('add')
    .argument('<vip>')
    .argument(
      '<address[=weight]>',
      'as vip add takes it; l7: ADDRESS[:PORT][=WEIGHT][@POOL]',
      parseBackendArgument,
    )
    .option('--forward <mode>', "l2, ipip, gue or vxlan, in place of the VIP's")
    .option('--vni <number>', 'vxlan: the number of its network', parseNumberArgument)
    .option('--remote <address>', "vxlan: the tunnel's other end")
    .option('--mac <address>', 'vxlan: its own in that network; by default derived from its address')
    .description('add a backend')
    .action(async (name: string, backend: Fields, { forward, vni, remote, mac }: AddOptions) => {
      const vxlan = { ...(backend['vxlan'] as Fields | undefined), ...given({ vni, remote, mac }) };
      const fields: Fields = {
        ...backend,
        ...given({ forward }),
        ...(Object.keys(vxlan).length === 0 ? {} : { vxlan }),
      };
      const answer = await ctl.ask('POST', apiPath`/v1/vips/${name}/backends`, fields);
      printChange(ctl, answer, `backend ${fields.address} added to ${name}`);
    });
  backend
    .command('rm <vip> <address>')
    .description('remove a backend; drain it first to spare its flows')
    .action(async (name: string, address: string) => {
      const answer = await ctl.ask('DELETE', apiPath`/v1/vips/${name}/backends/${address}`);
      printChange(ctl, answer, `backend ${address} removed from ${name}`);
    });
  backend
    .command('drain <vip> <address>')
    .description('give a backend no new flows; it keeps those that it has')
    .option('--timeout <time>', 'end the drain after so long: flows that are left are re-picked')
    .action((name: string, address: string, { timeout }: { readonly timeout?: string }) =>
      change(name, address, { drain: true, drainTimeout: timeout ?? null }, 'drains'),
    );
  backend
    .command('undrain <vip> <address>')
    .description('give a backend new flows again')
    .action((name: string, address: string) =>
      change(name, address, { drain: false, drainTimeout: null }, 'takes new flows'),
    );
  backend
    .command('weight')
    .argument('<vip>')
    .argument('<address>')
    .argument('<weight>', '0 to 1000; 0 drains', parseNumberArgument)
    .description('change the share of a backend')
    .action((name: string, address: string, weight: number) =>
      change(name, address, { weight }, `has weight ${weight}`),
    );
  backend
    .command('ls <vip>')
    .description('the backends of a VIP, a line each')
    .action(async (name: string) => {
      const answer = (await ctl.ask('GET', apiPath`/v1/vips/${name}`)) as VipAnswer;
      ctl.print(answer, () => backendTable(answer.status?.backends ?? pendingBackends(answer.vip.backends)));
    });
  addBackendMachineCommands(backend, ctl);
}
