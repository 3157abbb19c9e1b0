import { exitCode, InvariantError, OperatorError, SyscallError } from '@l4d/kit/errors.ts';
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { closeFd, constant } from '@l4d/kit/ffi/libc.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';
import { listPins, pinName, pinPath, renamePin, unpin } from './bpf-folder.ts';

/** Where VIP traffic arrives. */
export interface DataPlaneInterface {
  readonly name: string;
  readonly index: number;
  readonly mac: MacAddress;
}

/** The loaded first program and the map of the stages that it goes on to. */
export interface XdpPrograms {
  readonly first: number;
  readonly stages: number;
}

/** How the program is attached. */
export type XdpMode = 'native' | 'generic';

/** Where a program is to run, and the name of its link's pin. */
export interface XdpPlace {
  readonly on: DataPlaneInterface;
  readonly linkPin: string;
}

/** As attachXdpProgram, for a program with stages: they are held for as long as it is attached. */
export async function attachXdpPrograms(
  bpfFolder: string,
  programs: XdpPrograms,
  place: XdpPlace,
  mode: XdpMode | 'auto',
  logger: Logger,
): Promise<XdpMode> {
  const stages = pinName.stages + libbpf.programInfo(programs.first).id;
  libbpf.pin(programs.stages, pinPath(bpfFolder, stages));
  return await attachXdpProgram(bpfFolder, programs.first, place, mode, logger);
}

/** Lets go of all stages but those of these programs: only after the links have moved on, or are gone. */
export function unpinStages(bpfFolder: string, programIds: readonly number[] = []): void {
  const kept = new Set(programIds.map((id) => pinName.stages + id));
  for (const name of listPins(bpfFolder)) {
    if (name.startsWith(pinName.stages) && !kept.has(name)) unpin(bpfFolder, name);
  }
}

/** Names of the pinned XDP links. */
export function xdpLinkPins(bpfFolder: string): string[] {
  return listPins(bpfFolder).filter((name) => name.startsWith(pinName.xdpLink));
}

/**
 * Gives the links of interfaces that stay the pins that they are to have: an interface may have changed its part from
 * one configuration to the next, and its packets do not wait.
 */
export function arrangeXdpLinks(bpfFolder: string, places: readonly XdpPlace[]): void {
  const moved: { readonly from: string; readonly to: string }[] = [];
  for (const name of xdpLinkPins(bpfFolder)) {
    const index = pinnedXdpInterface(bpfFolder, name);
    const place = places.find(({ on }) => on.index === index);
    if (place === undefined || place.linkPin === name) continue;
    const aside = `${name}_moving`;
    renamePin(bpfFolder, name, aside);
    moved.push({ from: aside, to: place.linkPin });
  }
  for (const { from, to } of moved) renamePin(bpfFolder, from, to);
}

/** Ends the links that are not among these pins; gives the interfaces that they were attached to. */
export function dropXdpLinks(bpfFolder: string, kept: readonly string[] = []): number[] {
  return xdpLinkPins(bpfFolder).flatMap((name) => {
    const interfaceIndex = kept.includes(name) ? undefined : detachXdpLink(bpfFolder, name);
    return interfaceIndex === undefined ? [] : [interfaceIndex];
  });
}

/** Ends a pinned link; the index of the interface that it was attached to, undefined when that or the link is gone. */
export function detachXdpLink(bpfFolder: string, name: string): number | undefined {
  const link = libbpf.openPinned(pinPath(bpfFolder, name));
  if (link === undefined) return undefined;
  const { interfaceIndex } = libbpf.xdpLinkInfo(link);
  if (interfaceIndex !== 0) libbpf.detachLink(link);
  closeFd(link);
  unpin(bpfFolder, name);
  return interfaceIndex === 0 ? undefined : interfaceIndex;
}

/**
 * Attaches a loaded XDP program by the pinned link, or swaps the program of the link that an earlier
 * run left, without losing a packet. Returns the mode in force. Throws OperatorError.
 */
export async function attachXdpProgram(
  bpfFolder: string,
  program: number,
  { on, linkPin }: XdpPlace,
  mode: XdpMode | 'auto',
  logger: Logger,
): Promise<XdpMode> {
  const path = pinPath(bpfFolder, linkPin);
  const existing = libbpf.openPinned(path);
  if (existing !== undefined) {
    const info = libbpf.xdpLinkInfo(existing);
    if (info.interfaceIndex === on.index) {
      await libbpf.updateLink(existing, program);
      closeFd(existing);
      return libbpf.xdpProgramId(on.index, libbpf.xdpFlag.native) !== 0 ? 'native' : 'generic';
    }
    logger.warn(
      { interface: on.name },
      'the pinned XDP link belongs to another or a lost interface; it is replaced',
    );
    closeFd(existing);
    unpin(bpfFolder, linkPin);
  }
  const attempts: XdpMode[] = mode === 'auto' ? ['native', 'generic'] : [mode];
  for (const attempt of attempts) {
    try {
      const link = libbpf.attachXdp(program, on.index, libbpf.xdpFlag[attempt]);
      libbpf.pin(link, path);
      closeFd(link);
      if (mode === 'auto' && attempt === 'generic') {
        logger.warn(
          { interface: on.name },
          'the driver cannot run XDP natively: attached in generic mode, which forwards several times slower',
        );
      }
      return attempt;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.errno === constant.EBUSY || error.errno === constant.EEXIST) {
        throw new OperatorError(
          `interface ${on.name} already runs another XDP program (ip link show ${on.name}); ` +
            `remove it (ip link set ${on.name} xdp off, or detach its link) or choose another interface`,
          exitCode.system,
        );
      }
      logger.debug({ interface: on.name, mode: attempt, error: error.message }, 'XDP mode refused');
      if (attempt === attempts.at(-1)) {
        const hint = attempt === 'native' ? '; host.xdpMode: auto would fall back to generic mode' : '';
        throw new OperatorError(
          `cannot attach XDP in ${attempt} mode to ${on.name}: ${error.code}${hint}`,
          exitCode.system,
        );
      }
    }
  }
  throw new InvariantError('no XDP mode was tried');
}

/** Identifier of the program that a pinned link runs; undefined when it runs nowhere. */
export function pinnedXdpProgram(bpfFolder: string, name: string): number | undefined {
  const link = libbpf.openPinned(pinPath(bpfFolder, name));
  if (link === undefined) return undefined;
  const { interfaceIndex, programId } = libbpf.xdpLinkInfo(link);
  closeFd(link);
  return interfaceIndex === 0 ? undefined : programId;
}

/** Index of the interface that a pinned link is attached to; undefined when there is no such link. */
export function pinnedXdpInterface(bpfFolder: string, name: string = pinName.xdpLink): number | undefined {
  const link = libbpf.openPinned(pinPath(bpfFolder, name));
  if (link === undefined) return undefined;
  const { interfaceIndex } = libbpf.xdpLinkInfo(link);
  closeFd(link);
  return interfaceIndex === 0 ? undefined : interfaceIndex;
}
