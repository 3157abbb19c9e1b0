import { readFileSync } from 'node:fs';
import koffi from 'koffi';

/*
 * The limit of open files (RLIMIT_NOFILE), which children inherit. A process may raise its own up to the hard one,
 * and with CAP_SYS_RESOURCE beyond it, up to fs.nr_open.
 */

const libc = koffi.load(null);
const getLimit = libc.func('int getrlimit(int resource, void *limit)') as LimitCall;
const setLimit = libc.func('int setrlimit(int resource, const void *limit)') as LimitCall;
type LimitCall = (resource: number, limit: BigUint64Array) => number;

const RLIMIT_NOFILE = 7;

/** The limit of open files in force; Infinity: none. */
export function openFilesLimit(): number {
  const limit = new BigUint64Array(2);
  getLimit(RLIMIT_NOFILE, limit);
  return numberOf(limit[0]);
}

/** Sets the limit of open files to `wanted`, or as near to it as this process may come; returns what holds then. */
export function raiseOpenFiles(wanted: number): number {
  const limit = new BigUint64Array(2);
  getLimit(RLIMIT_NOFILE, limit);
  const [soft, hard] = [numberOf(limit[0]), numberOf(limit[1])];
  if (soft >= wanted) return soft;
  const most = BigInt(Math.min(wanted, mostOpenFiles()));
  const beyond = BigUint64Array.of(most, hard >= Number(most) ? (limit[1] ?? most) : most);
  // Without the right to go beyond the hard limit, that is as far as it goes.
  if (setLimit(RLIMIT_NOFILE, beyond) !== 0)
    setLimit(RLIMIT_NOFILE, BigUint64Array.of(limit[1] ?? 0n, limit[1] ?? 0n));
  return openFilesLimit();
}

function numberOf(limit: bigint | undefined): number {
  return limit === undefined || limit === 0xffffffffffffffffn ? Number.POSITIVE_INFINITY : Number(limit);
}

/** What the kernel lets any process have at most. */
function mostOpenFiles(): number {
  try {
    return Number(readFileSync('/proc/sys/fs/nr_open', 'latin1'));
  } catch {
    return 1_048_576;
  }
}
