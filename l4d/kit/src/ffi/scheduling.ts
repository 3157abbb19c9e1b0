import koffi from 'koffi';

const libc = koffi.load(null);
const schedSetscheduler = libc.func('int sched_setscheduler(int pid, int policy, const void *parameter)');

const mlockall = libc.func('int mlockall(int flags)');

const SCHED_RR = 2;
const SCHED_RESET_ON_FORK = 0x40000000;

/**
 * Puts the calling thread before all common ones (SCHED_RR, the least real-time priority; children do not
 * inherit it). False without the right to it (CAP_SYS_NICE, or RLIMIT_RTPRIO). For threads that work little and
 * must not wait; the kernel keeps 5 % of the time for others.
 */
export function scheduleBeforeOthers(): boolean {
  return schedSetscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, Int32Array.of(1)) === 0;
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
