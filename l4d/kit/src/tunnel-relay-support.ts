/** Linux from which on tunnels may be left to the kernel: what it does with their ends was proven there. */
export const tunnelRelaySince = '6.18';

/**
 * Why tunnels are not left to a kernel of this release (as `uname -r` says); undefined: they may be. The program loads on
 * Linux 6.1, too, but there it is not proven that silence ends a tunnel.
 */
export function noTunnelRelay(release: string): string | undefined {
  const [major = 0, minor = 0] = release.split(/[.-]/).map(Number);
  const [leastMajor = 0, leastMinor = 0] = tunnelRelaySince.split('.').map(Number);
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return undefined;
  return `Linux ${release} is older than ${tunnelRelaySince}`;
}
