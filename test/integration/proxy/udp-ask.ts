import { createSocket } from 'node:dgram';

/**
 * One UDP client: `udp-ask.ts ADDRESS PORT TIMES TEXT` sends a text so often, the next one after the answer (or 400 ms), and
 * writes each answer as a line of JSON; `null` where none came. TEXT `big N`: so many bytes; `burst N`: so often at once, and
 * the number of answers within a second. Several answers: each.
 */
const [address = '', port = '', times = '', text = ''] = process.argv.slice(2);
const [, size] = /^big (\d+)$/.exec(text) ?? [];
const payload = size === undefined ? text : Buffer.alloc(Number(size), 'x');

const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
const [, burst] = /^burst (\d+)$/.exec(text) ?? [];
let answers = 0;
let left = Number(times);
let timer: NodeJS.Timeout | undefined;

function ask(): void {
  if (left === 0) return void socket.close();
  left -= 1;
  socket.send(payload);
  timer = setTimeout(() => {
    process.stdout.write('null\n');
    ask();
  }, 400);
}

socket.on('message', (bytes) => {
  answers += 1;
  if (burst !== undefined) return;
  const told = bytes.length > 2000 ? `${bytes.length} bytes` : bytes.toString('latin1');
  process.stdout.write(`${JSON.stringify(told)}\n`);
  clearTimeout(timer);
  // Several may come for one question.
  timer = setTimeout(ask, text.startsWith('many') ? 200 : 0);
});
socket.on('error', (error) => process.stdout.write(`${JSON.stringify(String(error))}\n`));
socket.connect(Number(port), address, () => {
  if (burst === undefined) return void ask();
  for (let i = 0; i < Number(burst); i++) socket.send('x');
  setTimeout(() => {
    process.stdout.write(`${answers}\n`);
    socket.close();
  }, 1000);
});
