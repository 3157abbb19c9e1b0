import { createInterface } from 'node:readline';
import { raiseOpenFiles } from '@l4d/kit/ffi/resource-limits.ts';
import { IdleClients } from './idle-clients.ts';

/** Clients in a process of their own: `idle-clients-process.ts PORT plain|tls FIRST_SOURCE`; a command and a report a line. */
const [port = '', transport = '', firstSource = '0'] = process.argv.slice(2);
raiseOpenFiles(1_048_576);
const clients = new IdleClients(Number(port), transport === 'tls', Number(firstSource));

for await (const line of createInterface({ input: process.stdin })) {
  const [command, count = '0'] = line.split(' ');
  if (command === 'open') clients.open(Number(count));
  else if (command === 'ask') clients.ask(Number(count));
  else if (command === 'look') clients.look();
  else if (command === 'close') clients.close(false);
  else if (command === 'reset') clients.close(true);
  process.stdout.write(`${JSON.stringify(clients.report())}\n`);
}
