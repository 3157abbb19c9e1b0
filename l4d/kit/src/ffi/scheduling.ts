import koffi from 'koffi';

const libc = koffi.load(null);
const schedSetscheduler = libc.func('int sched_setscheduler(int pid, int policy, const void *parameter)');

const mlockall = libc.func('int mlockall(int flags)');

const SCHED_RR = 2;
const SCHED_RESET_ON_FORK = 0x40000000;

const SCHED_DEADLINE = 6;
const SCHED_FLAG_RESET_ON_FORK = 1;
const SCHED_FLAG_RECLAIM = 2;

/** sched_setattr(2), by process.arch: not every C library has a function for it. */
const setAttributeCall: Readonly<Record<string, number>> = { x64: 314, arm64: 274 };

const schedSetattr = libc.func('long syscall(long number, int pid, const void *attributes, uint32_t flags)');

/** Of each period so much is reserved; what nobody else has reserved may be used beyond it (RECLAIM). */
const reservedNanoseconds = 2_000_000n;
const periodNanoseconds = 10_000_000n;

/** How a thread was put before others. */
export type Precedence = 'deadline' | 'round-robin' | 'none';

/**
 * Puts the calling thread before all common ones; children do not inherit it. By SCHED_DEADLINE: since Linux 6.12 the
 * kernel gives common threads a reservation that real-time ones must wait for (the fair server, 50 ms at a time).
 * By SCHED_RR at the least real-time priority where no bandwidth is left or the CPUs are restricted; `none` without
 * the right to either (CAP_SYS_NICE, or RLIMIT_RTPRIO). For threads that work little and must not wait.
 */
export function scheduleBeforeOthers(): Precedence {
  // struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period.
  const attributes = new DataView(new ArrayBuffer(48));
  attributes.setUint32(0, attributes.byteLength, true);
  attributes.setUint32(4, SCHED_DEADLINE, true);
  attributes.setBigUint64(8, BigInt(SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_RECLAIM), true);
  attributes.setBigUint64(24, reservedNanoseconds, true);
  attributes.setBigUint64(32, periodNanoseconds, true);
  attributes.setBigUint64(40, periodNanoseconds, true);
  const call = setAttributeCall[process.arch];
  if (call !== undefined && Number(schedSetattr(call, 0, new Uint8Array(attributes.buffer), 0)) === 0)
    return 'deadline';
  const isRoundRobin = schedSetscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, Int32Array.of(1)) === 0;
  return isRoundRobin ? 'round-robin' : 'none';
}

/** MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT: what is touched stays; what is only reserved costs nothing. */
const everyTouchedPage = 1 | 2 | 4;

/**
 * Keeps the pages of this process in memory: code that runs once a second is what a machine short of memory drops
 * first, and reading it from the disk again takes longer than a detection time. False without the right to it
 * (CAP_IPC_LOCK, or RLIMIT_MEMLOCK).
 */
export function keepInMemory(): boolean {
  return mlockall(everyTouchedPage) === 0;
}
