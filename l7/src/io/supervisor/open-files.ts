import { raiseOpenFiles } from '@l4d/kit/ffi/resource-limits.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { roomWithin } from '../descriptor-room.ts';

/** What a worker wants: 100,000 connections of clients, those to backends, and room. */
const wantedOpenFiles = 131_072;

/** Raises the limit of open files, which workers inherit, as far as it is wanted; says so when that is not allowed. */
export function makeRoomForConnections(log: Logger): void {
  const limit = raiseOpenFiles(wantedOpenFiles);
  if (limit >= wantedOpenFiles) return;
  log.warn(
    { limit, wanted: wantedOpenFiles, connections: roomWithin(limit).clients },
    `the limit of open files (nofile) is ${limit} and may not be raised here: a worker takes ${roomWithin(limit).clients} connections of clients at most; set LimitNOFILE=${wantedOpenFiles} in the systemd unit (docker: --ulimit nofile=${wantedOpenFiles}), or let more workers share them`,
  );
}
