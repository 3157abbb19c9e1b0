import { Seconds } from '@l4d/kit/duration.ts';

/** Between a withdraw and the end of forwarding: routers need a moment to send traffic elsewhere. */
export const withdrawGrace = Seconds(1);
