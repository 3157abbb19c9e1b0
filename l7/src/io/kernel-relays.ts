import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { OperatorError, SyscallError, VerifierError } from '@l4d/kit/errors.ts';
import {
  addElement,
  attachStreamVerdict,
  closeObject,
  deleteElement,
  loadObject,
  mapFd,
  openObject,
  programFd,
  updateElement,
} from '@l4d/kit/ffi/libbpf.ts';
import { constant, mapShared, setSocketOptionInt, socketCookie } from '@l4d/kit/ffi/libc.ts';
import { writtenBytes } from '@l4d/kit/ffi/tcp-queue.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { noTunnelRelay } from '@l4d/kit/tunnel-relay-support.ts';

/*
 * Tunnels that the kernel relays (bpf/l7_relay.bpf.c). The program and its maps are this process's own and are not
 * pinned: they end with it, as its sockets do.
 */

const objectFile =
  process.env['L4D_OBJECT_DIR'] === undefined
    ? fileURLToPath(new URL('../../../bpf/build/', import.meta.url))
    : `${process.env['L4D_OBJECT_DIR']}/`;
/** MAX_TUNNELS of the program. */
const maxTunnels = 8192;
/** struct relay_flow, and where its fields are. */
const flowBytes = 56;
const field = { bytes: 0, base: 8, last: 16, limit: 24, begun: 48, broken: 52 } as const;
const SO_RCVLOWAT = 18;
const pageBytes = 4096;
/** How often is looked whether too much waits somewhere; one read of memory while nothing does. */
const noticeMs = 50;

/** One tunnel in the kernel. */
export interface KernelTunnel {
  /** Descriptors of its two ends. */
  readonly ends: readonly [number, number];
  /** Bytes that came on an end and were given to the other one. */
  bytesFrom(end: 0 | 1): number;
  /** Milliseconds since something came, on either end; Infinity: nothing ever did. */
  quietMs(): number;
  /** Called, soon, when more waits than may: nothing is relayed any more. */
  onBroken: () => void;
  /**
   * Whether all that came on an end has been written to the other one's socket. Looks at what has come and was not
   * looked at by the program, too.
   */
  isPassedOn(end: 0 | 1): boolean;
  /** Forgets it; to be called when both descriptors are closed. */
  release(): void;
}

/** Why a tunnel stays in the proxy. */
export type NoKernelRelay = 'unsupported' | 'full' | 'failed';

/** The tunnels of this process. */
export class KernelRelays {
  readonly #log: Logger;
  #maps: Maps | 'unsupported' | undefined = undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * From now on the kernel passes on what comes on two connections of which all that was read was sent, and whose
   * sockets hold no packet that was read in part. At most `limit` bytes wait in each direction.
   * `broken`: one of them has ended in this very moment after something was passed on: only a reset is left.
   */
  begin(ends: readonly [number, number], limit: number): KernelTunnel | NoKernelRelay | 'broken' {
    this.#maps ??= this.#load();
    return this.#maps === 'unsupported' ? 'unsupported' : this.#maps.begin(ends, limit);
  }

  #load(): Maps | 'unsupported' {
    try {
      return new Maps();
    } catch (error) {
      const isAnswer =
        error instanceof SyscallError || error instanceof VerifierError || error instanceof OperatorError;
      if (!isAnswer) throw error;
      this.#log.warn({ err: error }, 'this kernel relays nothing by itself: tunnels stay in the proxy');
      return 'unsupported';
    }
  }
}

class Maps {
  readonly #targets: number;
  readonly #sources: number;
  readonly #ends: number;
  readonly #flows: DataView;
  readonly #notice: BigUint64Array;
  #seen = 0n;
  readonly #open = new Map<number, KernelTunnel>();
  #timer: NodeJS.Timeout | undefined = undefined;
  readonly #free: number[] = [];
  #used = 0;
  readonly #key = new Uint32Array(1);
  readonly #value = new BigUint64Array(1);

  constructor() {
    const problem = noTunnelRelay(release());
    if (problem !== undefined) throw new OperatorError(problem);
    const path = `${objectFile}l7_relay.bpf.o`;
    if (!existsSync(path)) throw new OperatorError(`${path} is missing; build the kernel programs`);
    const object = openObject(path);
    try {
      loadObject(object, 'l7_relay');
      this.#targets = mapFd(object, 'relay_targets');
      this.#sources = mapFd(object, 'relay_sources');
      this.#ends = mapFd(object, 'relay_ends');
      attachStreamVerdict(programFd(object, 'l7_relay'), this.#sources);
      const flows = mapShared(mapFd(object, 'relay_flows'), wholePages(2 * maxTunnels * flowBytes));
      this.#flows = new DataView(flows.buffer, flows.byteOffset, flows.byteLength);
      const notice = mapShared(mapFd(object, 'relay_notice'), pageBytes);
      this.#notice = new BigUint64Array(notice.buffer, notice.byteOffset, 1);
    } catch (error) {
      closeObject(object);
      throw error;
    }
  }

  begin(ends: readonly [number, number], limit: number): KernelTunnel | 'full' | 'failed' | 'broken' {
    const tunnel = this.#free.pop() ?? this.#used++;
    if (tunnel >= maxTunnels) {
      this.#used = maxTunnels;
      return 'full';
    }
    const cookies = [socketCookie(ends[0]), socketCookie(ends[1])] as const;
    const release = () => {
      for (const cookie of cookies) deleteElement(this.#ends, bytesOf(this.#value, cookie));
      this.#free.push(tunnel);
      this.#open.delete(tunnel);
      if (this.#open.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
    const done = { targets: 0, sources: 0 };
    try {
      for (const side of [0, 1] as const) this.#beginEnd(2 * tunnel + side, cookies[side], limit);
      // Both are there to be redirected to before anything is.
      for (const side of [0, 1] as const) {
        this.#put(this.#targets, 2 * tunnel + side, ends[side]);
        done.targets += 1;
      }
      for (const side of [0, 1] as const) {
        this.#put(this.#sources, 2 * tunnel + side, ends[side]);
        done.sources += 1;
      }
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      // One has just ended. What of the first one is on its way already can be put back nowhere.
      for (let side = 0; side < done.sources; side++) this.#take(this.#sources, 2 * tunnel + side);
      if (this.#flow(2 * tunnel, field.bytes) > 0) {
        release();
        return 'broken';
      }
      for (let side = 0; side < done.targets; side++) this.#take(this.#targets, 2 * tunnel + side);
      release();
      return 'failed';
    }
    // What came before is looked at when something comes, or now.
    for (const fd of ends) kick(fd);
    const begun = this.#tunnel(tunnel, ends, release);
    this.#open.set(tunnel, begun);
    this.#timer ??= setInterval(() => this.#lookAtNotice(), noticeMs);
    return begun;
  }

  #lookAtNotice(): void {
    const now = this.#notice[0] ?? 0n;
    if (now === this.#seen) return;
    this.#seen = now;
    for (const [tunnel, { onBroken }] of [...this.#open])
      if (this.#flows.getUint32(2 * tunnel * flowBytes + field.broken, true) !== 0) onBroken();
  }

  #tunnel(tunnel: number, ends: readonly [number, number], release: () => void): KernelTunnel {
    const flow = (side: 0 | 1, name: keyof typeof field) => this.#flow(2 * tunnel + side, field[name]);
    const flows = this.#flows;
    return {
      ends,
      release,
      bytesFrom: (end) => flow(end, 'bytes'),
      quietMs() {
        const last = Math.max(flow(0, 'last'), flow(1, 'last'));
        return last === 0 ? Number.POSITIVE_INFINITY : Number(process.hrtime.bigint()) / 1e6 - last / 1e6;
      },
      onBroken: () => undefined,
      isPassedOn(end) {
        // It waits for whoever has the socket: what came with the end has been looked at afterwards.
        kick(ends[end]);
        const at = (2 * tunnel + end) * flowBytes;
        if (flows.getUint32(at + field.begun, true) === 0) return true;
        return writtenBytes(ends[end === 0 ? 1 : 0]) >= flow(end, 'base') + flow(end, 'bytes');
      },
    };
  }

  #flow(end: number, at: number): number {
    return Number(this.#flows.getBigUint64(end * flowBytes + at, true));
  }

  #beginEnd(end: number, cookie: bigint, limit: number): void {
    for (let at = 0; at < flowBytes; at += 8) this.#flows.setBigUint64(end * flowBytes + at, 0n, true);
    this.#flows.setBigUint64(end * flowBytes + field.limit, BigInt(limit), true);
    this.#key[0] = end;
    addElement(this.#ends, bytesOf(this.#value, cookie), new Uint8Array(this.#key.buffer));
  }

  #put(map: number, end: number, fd: number): void {
    this.#key[0] = end;
    updateElement(map, new Uint8Array(this.#key.buffer), bytesOf(this.#value, BigInt(fd)));
  }

  #take(map: number, end: number): void {
    this.#key[0] = end;
    deleteElement(map, new Uint8Array(this.#key.buffer));
  }
}

/** Has the program look at what a socket holds. */
function kick(fd: number): void {
  setSocketOptionInt(fd, constant.SOL_SOCKET, SO_RCVLOWAT, 1);
}

function bytesOf(scratch: BigUint64Array, value: bigint): Uint8Array {
  scratch[0] = value;
  return new Uint8Array(scratch.buffer);
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / pageBytes) * pageBytes;
}
