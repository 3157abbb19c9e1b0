import { closeFd, constant, sendTo, socket } from './ffi/libc.ts';

/** Words of sd_notify(3) that services here say. */
export interface ServiceNotice {
  /** READY=1: start-up, or a reload, is complete. */
  readonly ready?: boolean;
  /** STOPPING=1. */
  readonly stopping?: boolean;
  /** EXTEND_TIMEOUT_USEC=: it takes up to so much longer, in milliseconds. */
  readonly extendTimeoutMs?: number;
  /** RELOADING=1, with the time that systemd wants beside it. */
  readonly reloading?: boolean;
  /** WATCHDOG=1: still alive. */
  readonly watchdog?: boolean;
  /** STATUS=: one line for people. */
  readonly status?: string;
}

/**
 * Tells the service supervisor that started us (systemd, or whoever else sets NOTIFY_SOCKET); does nothing without
 * one. An unreachable supervisor is no reason to fail.
 */
export function notifySupervisor(environment: NodeJS.ProcessEnv, notice: ServiceNotice): void {
  const path = environment['NOTIFY_SOCKET'];
  if (path === undefined || path === '') return;
  const lines = [
    ...(notice.ready === true ? ['READY=1'] : []),
    ...(notice.stopping === true ? ['STOPPING=1'] : []),
    ...(notice.reloading === true
      ? ['RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`]
      : []),
    ...(notice.extendTimeoutMs === undefined
      ? []
      : [`EXTEND_TIMEOUT_USEC=${Math.ceil(notice.extendTimeoutMs * 1000)}`]),
    ...(notice.watchdog === true ? ['WATCHDOG=1'] : []),
    ...(notice.status === undefined ? [] : [`STATUS=${notice.status.replaceAll('\n', ' ')}`]),
  ];
  let fd: number | undefined;
  try {
    fd = socket(constant.AF_UNIX, constant.SOCK_DGRAM | constant.SOCK_CLOEXEC);
    sendTo(fd, new TextEncoder().encode(lines.join('\n')), unixAddress(path), constant.MSG_DONTWAIT);
  } catch {
    // It is gone, or slow: what we do does not depend on it.
  } finally {
    if (fd !== undefined) closeFd(fd);
  }
}

/** Half of the time within which the supervisor wants to hear WATCHDOG=1, in milliseconds; undefined when it does not. */
export function watchdogIntervalMs(environment: NodeJS.ProcessEnv): number | undefined {
  const microseconds = Number(environment['WATCHDOG_USEC']);
  const forUs = environment['WATCHDOG_PID'] ?? String(process.pid);
  if (!(microseconds > 0) || forUs !== String(process.pid)) return undefined;
  return Math.max(1, microseconds / 2000);
}

/** An environment for programs that the supervisor does not know: what they would say there would be taken for our word. */
export function withoutSupervisor(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET: _socket, WATCHDOG_USEC: _interval, WATCHDOG_PID: _process, ...others } = environment;
  return others;
}

/** struct sockaddr_un; a leading @ stands for the abstract namespace. */
function unixAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path);
  if (name[0] === 0x40) name[0] = 0;
  const address = new Uint8Array(2 + name.length + (name[0] === 0 ? 0 : 1));
  new DataView(address.buffer).setUint16(0, constant.AF_UNIX, true);
  address.set(name, 2);
  return address;
}
