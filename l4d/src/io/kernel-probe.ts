import { existsSync, readFileSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { exitCode, OperatorError, SyscallError, VerifierError } from '@l4d/kit/errors.ts';
import { loopbackIndex, openFreshNetwork } from '@l4d/kit/ffi/fresh-network.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd, interfaceIndex } from '@l4d/kit/ffi/libc.ts';
import { noTunnelRelay } from '@l4d/kit/tunnel-relay-support.ts';
import type { KernelFeatureKey, ProbeResult } from '../core/kernel-features.ts';
import { ensureBpfFolder } from './forwarding/bpf-folder.ts';
import { objectPath } from './forwarding/bpf-objects.ts';

/**
 * Finds out what the kernel can by trying it, with our own programs where there are some. Nothing of this host is
 * touched: what must be attached is attached to the loopback interface of a network namespace of its own.
 */

const operationNotSupported = 95;

/**
 * Tries every feature. With an interface name also whether its driver runs XDP: for that a program that passes
 * everything is attached to it for a moment, unless there is one already. Throws OperatorError when there is no such
 * interface or no right to load programs.
 */
export async function probeKernel(interfaceName?: string): Promise<ProbeResult[]> {
  if (interfaceName !== undefined && interfaceIndex(interfaceName) === 0) {
    throw new OperatorError(`there is no interface ${interfaceName} here`, exitCode.usage);
  }
  const folder = `/sys/fs/bpf/l4d-probe-${process.pid}`;
  const results: ProbeResult[] = [];
  const attempt = async (feature: KernelFeatureKey, action: () => unknown) => {
    results.push(await outcome(feature, action));
  };
  await attempt('bpfFs', () => {
    ensureBpfFolder(folder);
    rmSync(folder, { recursive: true });
  });
  await attempt('lruHash', () => closeFd(libbpf.createLruMap('probe', 4, 4, 8)));
  await attempt('mappedArrays', () => closeFd(libbpf.createArray(8, 8, true)));
  await attempt('batchReads', () => {
    const map = libbpf.createArray(8, 8, false);
    try {
      libbpf.lookupArray(map, 8, 8);
    } finally {
      closeFd(map);
    }
  });
  await attempt('bufferLength', () => requireHelper(libbpf.helperId.xdpGetBuffLen));
  await attempt('programs', () => withSmallObject('l4d_xdp', () => undefined));
  await attempt('checkSteering', () =>
    withSmallObject('check_steering', (object) => {
      const program = libbpf.programFd(object, 'check_steering');
      return inFreshNetwork((run) => run(() => libbpf.attachTcEgress(program, loopbackIndex)));
    }),
  );
  await attempt('lookup', () => withSmallObject('l7_lookup', () => undefined));
  await attempt('sourceReturn', () =>
    withSmallObject('source_return', (object) => {
      const program = libbpf.programFd(object, 'source_return');
      return inFreshNetwork((run) => run(() => libbpf.attachTcIngress(program, loopbackIndex)));
    }),
  );
  await attempt('tunnelRelay', () => {
    const problem = noTunnelRelay(release());
    if (problem !== undefined) throw new OperatorError(problem);
    return withSmallObject('l7_relay', (object) =>
      libbpf.attachStreamVerdict(libbpf.programFd(object, 'l7_relay'), libbpf.mapFd(object, 'relay_sources')),
    );
  });
  await attempt('links', () =>
    withSmallObject('pass', (object) => {
      const program = libbpf.programFd(object, 'pass');
      return inFreshNetwork(async (run) => {
        const link = run(() => libbpf.attachXdp(program, loopbackIndex, libbpf.xdpFlag.generic));
        try {
          await libbpf.updateLink(link, program);
        } finally {
          closeFd(link);
        }
      });
    }),
  );
  await attempt('jiffies', () => requireHelper(libbpf.helperId.jiffies64));
  await attempt('compiler', requireCompiler);
  if (interfaceName !== undefined) await attempt('nativeXdp', () => requireNativeXdp(interfaceName));
  return results;
}

async function outcome(feature: KernelFeatureKey, action: () => unknown): Promise<ProbeResult> {
  try {
    await action();
    return { feature, present: true };
  } catch (error) {
    const isAnswer =
      error instanceof SyscallError || error instanceof VerifierError || error instanceof OperatorError;
    if (!isAnswer) throw error;
    if (error instanceof SyscallError && error.errno === 1) throw error;
    return { feature, present: false, detail: error.message.replaceAll('\n', ': ') };
  }
}

function requireHelper(helper: number): void {
  if (!libbpf.hasXdpHelper(helper)) throw new OperatorError('the helper is missing');
}

function requireCompiler(): void {
  const file = '/proc/sys/net/core/bpf_jit_enable';
  // The setting is shown in the first network namespace alone.
  if (existsSync(file) && readFileSync(file, 'utf8').trim() === '0') {
    throw new OperatorError('it is switched off');
  }
}

/** Loads one of our objects with maps of one element, and unloads it afterwards. */
async function withSmallObject(name: string, action: (object: libbpf.BpfObject) => unknown): Promise<void> {
  const object = libbpf.openObject(objectPath(name));
  try {
    for (const map of libbpf.mapNames(object)) {
      if (!map.includes('.') && !keepsItsSize.includes(map)) libbpf.setMaxEntries(object, map, 1);
    }
    libbpf.loadObject(object, name);
    await action(object);
  } finally {
    libbpf.closeObject(object);
  }
}

/** Maps whose size the programs rely on. */
const keepsItsSize: readonly string[] = ['stages', 'reasons'];

async function inFreshNetwork<T>(action: (run: <R>(within: () => R) => R) => T): Promise<T> {
  const network = openFreshNetwork();
  try {
    return await action((within) => network.run(within));
  } finally {
    network.close();
  }
}

async function requireNativeXdp(interfaceName: string): Promise<void> {
  const index = interfaceIndex(interfaceName);
  // One that runs natively has answered already.
  if (libbpf.xdpProgramId(index, libbpf.xdpFlag.native) !== 0) return;
  if (libbpf.xdpProgramId(index, libbpf.xdpFlag.generic) !== 0) {
    throw new OperatorError('a generic program is attached: not tried');
  }
  await withSmallObject('pass', (object) => {
    const program = libbpf.programFd(object, 'pass');
    try {
      closeFd(libbpf.attachXdp(program, index, libbpf.xdpFlag.native));
    } catch (error) {
      if (error instanceof SyscallError && error.errno === operationNotSupported) {
        throw new OperatorError(`the driver of ${interfaceName} has none`);
      }
      throw error;
    }
  });
}
