/** What `l4ctl backend setup`, `teardown` and `decap` do to this machine; loaded when one of them runs. */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { exitCode, OperatorError } from '@l4d/kit/errors.ts';
import { type IpAddress, ipAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';
import { type IpPrefix, ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { createLogger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { openRtnetlink } from '@l4d/kit/netlink/rtnetlink.ts';
import type { BackendSetup, SetUpMode, SetupCommand, VxlanDevice } from '@l4d/l4d/core/backend-setup.ts';
import { persistCommands, unitName, unitPath } from '@l4d/l4d/core/backend-unit.ts';
import { derivedMac } from '@l4d/l4d/core/forwarding/vxlan-end.ts';
import { attachDecap, detachDecap } from '@l4d/l4d/io/forwarding/decap.ts';
import { findHostInterface, type HostInterface } from '@l4d/l4d/io/host-interface.ts';

export { detachDecap, readDecap } from '@l4d/l4d/io/forwarding/decap.ts';

/** Options of `backend decap attach`. */
export interface DecapOptions {
  readonly interface: string;
  readonly from?: readonly IpPrefix[];
  readonly vip: readonly IpAddress[];
  readonly guePort: number;
  readonly address?: readonly IpAddress[];
  readonly pins: string;
}

/** Options of `backend setup`. */
export interface SetupOptions extends DecapOptions {
  readonly forward: SetUpMode;
  readonly mtu?: number;
  readonly vni?: number;
  readonly vxlanPort: number;
  readonly mac?: MacAddress;
  readonly tenantAddress?: IpAddress;
  readonly print?: boolean;
  readonly persist?: boolean;
}

/** What setup works with, from the machine as it is. Throws OperatorError. */
export async function setupOf(options: SetupOptions): Promise<BackendSetup> {
  const on = await findHostInterface(options.interface, '--interface');
  const sources = options.from ?? [];
  if (options.forward !== 'l2' && sources.length === 0) {
    throw new OperatorError(
      `--from is missing: with --forward ${options.forward} the range that the balancers send from must be ` +
        'known (host.tunnel.sourceIpv4 and sourceIpv6 of l4d, or the addresses of the hosts)',
      exitCode.usage,
    );
  }
  const routesOf = (family: 4 | 6) =>
    run(['ip', '-o', `-${family}`, 'route', 'show', 'table', 'main'])
      .split('\n')
      .filter(Boolean);
  return {
    forward: options.forward,
    interfaceName: on.name,
    vips: options.vip,
    sources,
    guePort: options.guePort,
    ...(options.forward === 'vxlan' ? { vxlan: vxlanDevice(options, on) } : {}),
    mtu: options.mtu ?? on.mtu,
    routes: { ipv4: routesOf(4), ipv6: routesOf(6) },
  };
}

/** The tunnel's end, from what is told and the interface's own addresses. Throws OperatorError. */
function vxlanDevice(
  { vni, vxlanPort, mac, tenantAddress, from }: SetupOptions,
  on: HostInterface,
): VxlanDevice {
  if (vni === undefined)
    throw new OperatorError(
      '--vni is missing: the number of the network, as the balancers have it',
      exitCode.usage,
    );
  if (mac === undefined && tenantAddress === undefined) {
    throw new OperatorError(
      '--tenant-address is missing: the address that the balancers have for this backend, from which its MAC address ' +
        'follows; or say --mac where they have one',
      exitCode.usage,
    );
  }
  const addresses = ([4, 6] as const).flatMap((family) => {
    if (from?.some((source) => source.address.family === family) !== true) return [];
    const own = on.addresses[`ipv${family}`];
    if (own !== undefined) return [ipAddress(own)];
    throw new OperatorError(
      `${on.name} has no global IPv${family} address, and the balancers of --from send to one`,
      exitCode.usage,
    );
  });
  return { vni, port: vxlanPort, mac: mac ?? derivedMac(tenantAddress ?? ipAddress('::')), addresses };
}

/** Writes the unit that sets this machine up at each start, and has systemd take it. Throws OperatorError. */
export function persist(unit: string): void {
  writeFileSync(unitPath, unit);
  for (const command of persistCommands) run(command);
}

/** Takes the unit away, if there is one. */
export function forgetUnit(): void {
  if (!existsSync(unitPath)) return;
  run(['systemctl', 'disable', unitName], true);
  rmSync(unitPath, { force: true });
  run(['systemctl', 'daemon-reload'], true);
}

/** Attaches the program that ends tunnels. Throws OperatorError, SyscallError. */
export async function attach(options: DecapOptions): Promise<void> {
  const on = await findHostInterface(options.interface, '--interface');
  const rules = {
    sources: options.from ?? [],
    addresses: options.address ?? (await ownAddresses(on.index, options.vip)),
    vips: options.vip,
    guePort: options.guePort,
  };
  const logger = createLogger('l4ctl');
  await attachDecap(options.pins, rules, on, 'auto', logger);
}

async function ownAddresses(interfaceIndex: number, vips: readonly IpAddress[]): Promise<IpAddress[]> {
  const rtnetlink = openRtnetlink();
  try {
    const all = await rtnetlink.addresses(interfaceIndex);
    return all.map(({ address }) => address).filter((own) => !vips.some((vip) => sameIpAddress(own, vip)));
  } finally {
    rtnetlink.close();
  }
}

/** Runs commands; those of our own are done here, with this process's folder of pins. */
export async function runAll(
  commands: readonly SetupCommand[],
  pins: string,
  mayFail = false,
): Promise<void> {
  for (const command of commands) {
    const [program, , noun, verb] = command;
    if (program === 'l4ctl' && noun === 'decap' && verb === 'detach') detachDecap(pins);
    else if (program === 'l4ctl') await attach(decapOptionsOf(command.slice(4), pins));
    else run(command, mayFail || command.includes('del') || command.includes('flush'));
  }
}

/** Reads what core/backend-setup.ts has written. */
function decapOptionsOf(words: readonly string[], pins: string): DecapOptions {
  const valuesOf = (name: string) => words.filter((_, index) => words[index - 1] === name);
  return {
    interface: valuesOf('--interface')[0] ?? 'auto',
    guePort: Number(valuesOf('--gue-port')[0]),
    from: valuesOf('--from').map(ipPrefix),
    vip: valuesOf('--vip').map(ipAddress),
    pins,
  };
}

function run(command: SetupCommand, mayFail = false): string {
  const [program = '', ...args] = command;
  const result = spawnSync(program, args, { encoding: 'utf8' });
  if (result.error !== undefined)
    throw new OperatorError(`${program} cannot be run: ${result.error.message}`, exitCode.system);
  if (result.status !== 0 && !mayFail) {
    throw new OperatorError(`"${command.join(' ')}" failed: ${result.stderr.trim()}`, exitCode.system);
  }
  return result.stdout;
}
