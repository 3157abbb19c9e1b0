/** Timer values of RFC 9568 section 6.1, in milliseconds instead of centiseconds. */

/** Skew_Time: the better the priority, the shorter. */
export function skewTime(priority: number, activeIntervalMs: number): number {
  return ((256 - priority) * activeIntervalMs) / 256;
}

/** Active_Down_Interval: silence for so long means that the Active Router is gone. */
export function activeDownInterval(priority: number, activeIntervalMs: number): number {
  return 3 * activeIntervalMs + skewTime(priority, activeIntervalMs);
}

/**
 * Silence of ours for so long means that another may have taken over: the shortest Active_Down_Interval that a router
 * with our interval can have is longer. After a pause of the process the ownership is not believed any more.
 */
export function fenceInterval(advertisementIntervalMs: number): number {
  return 3 * advertisementIntervalMs;
}
