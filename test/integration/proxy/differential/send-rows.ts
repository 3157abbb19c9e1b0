/*
 * Sends texts, each on a connection of its own, many at a time: `send-rows.ts`, with a list of SentRow as JSON on stdin. Writes
 * a list of Answered as JSON. A connection ends with its proxy, with the answer to the last request, or when nothing
 * was said on any of them for a while.
 */
import { connect } from 'node:net';
import { text as readAll } from 'node:stream/consumers';

/** What to send where; each character a byte. */
export interface SentRow {
  readonly address: string;
  readonly port: number;
  readonly text: string;
}

/** Status codes of the answers, and whether the connection was ended. */
export interface Answered {
  readonly codes: readonly number[];
  readonly ended: boolean;
}

const atOnce = 150;
const tickMs = 50;
/** Ticks without a sign of life on any connection, after which those that are left are given up. */
const silentTicks = 30;

const rows = JSON.parse(await readAll(process.stdin)) as SentRow[];
const answers: Answered[] = [];
let next = 0;
let silent = 0;
const open = new Set<() => void>();
const timer = setInterval(() => {
  silent += 1;
  if (silent > silentTicks) for (const giveUp of open) giveUp();
}, tickMs);

async function lane(): Promise<void> {
  for (let index = next++; index < rows.length; index = next++) {
    const { address, port, text } = rows[index] as SentRow;
    answers[index] = await new Promise((resolve) => {
      const socket = connect({ host: address, port, allowHalfOpen: true });
      let got = '';
      const finish = (ended: boolean) => {
        socket.destroy();
        silent = 0;
        open.delete(giveUp);
        resolve({
          codes: [...got.matchAll(/^HTTP\/1\.[01] (\d+) /gm)].map(([, code]) => Number(code)),
          ended,
        });
      };
      const giveUp = () => finish(false);
      open.add(giveUp);
      socket.on('connect', () => socket.write(text, 'latin1'));
      socket.on('data', (piece) => {
        got += piece.toString('latin1');
        silent = 0;
        if (/X-Last: 1\r\n[\s\S]*\r\n\r\n/i.test(got)) finish(false);
      });
      socket.on('end', () => finish(true));
      socket.on('error', () => finish(true));
    });
  }
}

await Promise.all(Array.from({ length: atOnce }, lane));
clearInterval(timer);
process.stdout.write(JSON.stringify(answers));
