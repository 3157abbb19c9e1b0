import { counting, tcpFlag } from './packet.ts';
import { type Family, tcpFrame, udpFrame } from './world.ts';

/**
 * Frame lengths in bytes, without the check sequence: the least, odd ones, those of usual MTUs, both sides of the end
 * of the first buffer (of the kernel's test runs), and jumbo frames.
 */
export const frameSizes = [
  64, 65, 127, 128, 256, 512, 777, 1024, 1294, 1514, 1614, 2048, 3519, 3520, 3521, 4096, 6001, 9014,
] as const;

/** A TCP segment of a running connection as a frame of that length. */
export function tcpFrameOf(family: Family, length: number): Uint8Array {
  const { length: empty } = tcpFrame(family);
  // IPv6 and TCP alone are longer than the least frame.
  return tcpFrame(family, { flags: tcpFlag.ack | tcpFlag.psh }, counting(Math.max(0, length - empty), 3));
}

/** A UDP datagram as a frame of that length. */
export function udpFrameOf(family: Family, length: number): Uint8Array {
  return udpFrame(family, counting(length - udpFrame(family, new Uint8Array(0)).length, 5));
}
