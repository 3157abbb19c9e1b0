import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import { send } from './ffi/libc.ts';

/*
 * Where a daemon's log lines go. Logging must not stop what it tells of: a pipe that nobody reads would block the whole
 * process in write(2), and an error of it (the disk is full) would end it. So a line that cannot be written at once is
 * dropped and counted, and the count is told with the next line that can.
 */

/** MSG_DONTWAIT and MSG_NOSIGNAL of <sys/socket.h>. */
const sendFlags = 0x40 | 0x4000;

/** Takes lines; never blocks and never throws. */
export interface LogDestination {
  /** A line with its line end. */
  write(line: string): void;
  /** Lines that were dropped and not told of yet. */
  readonly lost: number;
}

/** Writes as much as is taken at once; how many bytes, or an error. */
type Write = (bytes: Uint8Array) => number;

/** A descriptor, stderr unless said otherwise: a file, a pipe, a terminal, or a socket such as the journal's. */
export function openLogDestination(fd = 2): LogDestination {
  return createLogDestination(writerOf(fd));
}

/** Lines by way of `write`, which returns how many bytes were taken, or throws. */
export function createLogDestination(write: () => Write): LogDestination {
  let lost = 0;
  /** What is left of a line that was begun: without it the next would stand in its middle. */
  let rest: Uint8Array = new Uint8Array(0);

  /** Whether it was, at least in part, written. */
  function tryWrite(bytes: Uint8Array): boolean {
    let at = 0;
    try {
      while (at < bytes.length) {
        const taken = write()(bytes.subarray(at));
        if (taken <= 0) break;
        at += taken;
      }
    } catch {
      // EAGAIN of a full pipe, ENOSPC of a full disk, EPIPE: there is nobody to tell.
    }
    if (at > 0) rest = bytes.subarray(at);
    return at > 0;
  }

  return {
    get lost() {
      return lost;
    },
    write(line) {
      if (rest.length > 0) tryWrite(rest);
      if (rest.length === 0 && lost > 0) {
        const told = { level: 40, time: new Date().toISOString(), pid: process.pid, lost };
        if (
          tryWrite(
            Buffer.from(
              `${JSON.stringify({ ...told, msg: 'log lines were lost: they could not be written' })}\n`,
            ),
          )
        )
          lost = 0;
      }
      if (rest.length > 0 || lost > 0 || !tryWrite(Buffer.from(line))) lost += 1;
    },
  };
}

/** How to write to a descriptor without waiting. It may change: what a socket needs is loaded when it is one. */
function writerOf(fd: number): () => Write {
  let write: Write = (bytes) => writeSync(fd, bytes);
  try {
    const kind = fstatSync(fd);
    if (kind.isFIFO() || kind.isCharacterDevice()) {
      // Opened anew: O_NONBLOCK of the inherited description would be everybody's who has it.
      const own = openSync(
        `/proc/self/fd/${fd}`,
        constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
      );
      write = (bytes) => writeSync(own, bytes);
    } else if (kind.isSocket()) {
      write = (bytes) => send(fd, bytes, sendFlags);
    }
  } catch {
    // Without /proc, or with stderr closed: as it is.
  }
  return () => write;
}
