import { connectionRows } from './connection-rows.ts';
import { chunkRows, codingRows, lengthRows } from './framing-rows.ts';
import { fieldRows, hostRows, startLineRows, targetRows } from './request-rows.ts';
import type { RequestRow } from './wire-row.ts';

/** A table with its name. */
export interface RequestTable {
  readonly name: string;
  readonly rows: readonly RequestRow[];
}

/** All tables of what clients send. */
export const requestTables: readonly RequestTable[] = [
  { name: 'start line', rows: startLineRows },
  { name: 'target', rows: targetRows },
  { name: 'Host', rows: hostRows },
  { name: 'field lines', rows: fieldRows },
  { name: 'Content-Length', rows: lengthRows },
  { name: 'Transfer-Encoding', rows: codingRows },
  { name: 'chunks', rows: chunkRows },
  { name: 'connection', rows: connectionRows },
];

/** Their rows. */
export const requestRows: readonly RequestRow[] = requestTables.flatMap(({ rows }) => rows);
