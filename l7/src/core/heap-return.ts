/*
 * When a worker gives memory back to the kernel. What connections had (TLS: 14 KB each, OpenSSL's) is free when
 * they have closed, but lies between what lives on, and stays resident until it is given back in one go, which
 * stops everything else for milliseconds.
 */

/** Fewer than so many closed connections are not worth it. */
const fewestClosed = 256;
/** At most so often. */
const pauseMs = 10_000;

/** What is known from one look to the next. */
export interface HeapReturn {
  /** Most connections that were open since memory was given back. */
  readonly peak: number;
  readonly returnedAt: number;
}

/** Before the first look. */
export const noHeapReturn: HeapReturn = { peak: 0, returnedAt: Number.NEGATIVE_INFINITY };

/** Whether memory is to be given back now, when so many connections are open: when half of them, and many, have gone. */
export function lookAtHeap(
  { peak, returnedAt }: HeapReturn,
  open: number,
  nowMs: number,
): { readonly state: HeapReturn; readonly due: boolean } {
  const highest = Math.max(peak, open);
  const due = highest - open >= fewestClosed && open <= highest / 2 && nowMs - returnedAt >= pauseMs;
  return { state: due ? { peak: open, returnedAt: nowMs } : { peak: highest, returnedAt }, due };
}
