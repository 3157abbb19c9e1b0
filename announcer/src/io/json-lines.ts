import type { Socket } from 'node:net';

/**
 * Calls back with each line of a socket, parsed; returns what tells the beginning of a line that has come so far, and
 * takes one. What is no JSON is a fault of ours.
 */
export function onLines(socket: Socket, onMessage: (message: unknown) => void, begun = ''): () => string {
  let rest = begun;
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onMessage(JSON.parse(line));
  });
  return () => rest;
}
