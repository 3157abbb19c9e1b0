import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pcap } from './pcap.ts';

/** Checksums as somebody else counts them. */

const protocols = ['ip', 'tcp', 'udp', 'icmp', 'icmpv6'] as const;

/** Whether tshark is installed. */
export function hasTshark(): boolean {
  return spawnSync('tshark', ['--version']).status === 0;
}

/** What tshark says of each frame's checksums, outer ones first: `0` bad, `1` good, `2` not looked at, `3` none. */
export type ChecksumStatuses = Readonly<Record<(typeof protocols)[number], string>>;

/** Lets tshark read frames and sum up every message in them. */
export function checksumStatuses(frames: readonly Uint8Array[]): ChecksumStatuses[] {
  const folder = mkdtempSync(join(tmpdir(), 'l4d-frames-'));
  try {
    const file = join(folder, 'frames.pcap');
    writeFileSync(file, pcap(frames));
    const checks = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
    const fields = protocols.flatMap((name) => ['-e', `${name}.checksum.status`]);
    const text = execFileSync(
      'tshark',
      ['-r', file, '-n', ...checks, '-T', 'fields', ...fields, '-E', 'separator=;'],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 26 },
    );
    return text
      .slice(0, -1)
      .split('\n')
      .map((line) => {
        const statuses = line.split(';');
        return Object.fromEntries(
          protocols.map((name, at) => [name, statuses[at] ?? '']),
        ) as ChecksumStatuses;
      });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
