/*
 * Clients of hostile backends, and clients that leave: `clients.ts ADDRESS`, with a list of Asked as JSON on stdin. Writes a list
 * of Told as JSON.
 */
import { connect } from 'node:net';
import { text as readAll } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

/** What is sent, on how many connections; `leaves`: they are ended, every other one by a reset, after so long. */
export interface Asked {
  readonly name: string;
  readonly port: number;
  readonly text: string;
  readonly times: number;
  readonly leavesAfterMs?: number;
}

/**
 * What came of each connection: the first status, and whether the answer is `whole` by its own framing, or `cut`;
 * `left`: the client has gone. How a connection has ended is not asked: libuv takes a reset behind data for an end.
 */
export interface Told {
  readonly name: string;
  readonly outcomes: readonly string[];
}

const [address = ''] = process.argv.slice(2);

/** Of an answer that begins with `text` and has `length` bytes. */
function isWhole(text: string, length: number): boolean {
  const final = text.replace(/^(?:HTTP\/1\.1 1\d\d[\s\S]*?\r\n\r\n)+/, '');
  const end = final.indexOf('\r\n\r\n') + 4;
  if (end < 4) return false;
  const told = /^content-length: (\d+)\r\n/im.exec(final.slice(0, end))?.[1];
  if (told !== undefined) return length - (text.length - final.length) - end === Number(told);
  return final.endsWith('0\r\n\r\n');
}

function ask(
  port: number,
  text: string,
  leavesAfterMs: number | undefined,
  resets: boolean,
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    /** The beginning and, apart, all that was counted. */
    let head = '';
    let length = 0;
    const finish = (how: string) => resolve(`${head.slice(9, 12)} ${how}`);
    const over = () => finish(isWhole(head, length) ? 'whole' : 'cut');
    socket.on('connect', () => {
      socket.write(text);
      if (leavesAfterMs === undefined) return;
      sleep(leavesAfterMs).then(() => {
        if (resets) socket.resetAndDestroy();
        else socket.destroy();
        finish('left');
      });
    });
    socket.on('data', (piece) => {
      length += piece.length;
      if (head.length < 10_000) head += piece.toString('latin1');
    });
    socket.on('end', over);
    socket.on('error', over);
    socket.setTimeout(30_000, () => {
      socket.destroy();
      finish('silent');
    });
  });
}

const asked = JSON.parse(await readAll(process.stdin)) as Asked[];
const told: Told[] = await Promise.all(
  asked.map(async ({ name, port, text, times, leavesAfterMs }) => ({
    name,
    outcomes: await Promise.all(
      Array.from({ length: times }, (_, i) => ask(port, text, leavesAfterMs, i % 2 === 1)),
    ),
  })),
);
process.stdout.write(JSON.stringify(told));
