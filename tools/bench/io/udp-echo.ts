import { closeSocket } from '@l4d/kit/ffi/event-socket.ts';
import { bind } from '@l4d/kit/ffi/libc.ts';
import { ReceiveBatch } from '@l4d/kit/ffi/receive-batch.ts';
import { SendBatch } from '@l4d/kit/ffi/send-batch.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { setReceiveQueue, udpSocket } from '@l4d/kit/ffi/udp-socket.ts';
import { watchSocket } from '@l4d/kit/ffi/watch-socket.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';

/** Sends every datagram back, in batches: `udp-echo.ts PORT`, on 127.0.0.1. */
const [port = ''] = process.argv.slice(2);
const fd = udpSocket(4);
setReceiveQueue(fd, 8 << 20);
bind(fd, encodeSockaddr(ipAddress('127.0.0.1'), Number(port)));
const received = new ReceiveBatch(64);
const outgoing = new SendBatch(1);
watchSocket(fd, 'readable', () => {
  for (let count = received.receive(fd); count > 0; count = received.receive(fd)) {
    for (let i = 0; i < count; i++) {
      const client = { name: received.source(i), scopeId: 0, apart: true };
      outgoing.add(client, received.address(i), received.length(i));
      outgoing.send(fd);
    }
  }
});
process.on('SIGTERM', () => {
  closeSocket(fd);
  process.exit(0);
});
