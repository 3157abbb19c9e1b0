import {
  closeSocket,
  connectAt,
  epollEvent,
  fixedMemory,
  lastErrno,
  newTcpSocket,
  receiveAt,
  receiveFlags,
  sendAt,
  sendFlags,
  setResetOnClose,
  takeSocketError,
} from '@l4d/kit/ffi/event-socket.ts';
import { bind, constant, setSocketOptionInt } from '@l4d/kit/ffi/libc.ts';
import { libssl } from '@l4d/kit/ffi/libssl.ts';
import { encodeSockaddr } from '@l4d/kit/ffi/sockaddr.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { TlsSession } from '@l4d/l7/io/tls/tls-session.ts';
import { ReadySockets } from '../../bench/io/ready-sockets.ts';

/*
 * Very many keep-alive connections from one process over loopback, from as many source addresses as their ports
 * need. Each asks once, waits for its answer, and is then silent until it is asked to speak again.
 */

const IP_BIND_ADDRESS_NO_PORT = 24;
const EINPROGRESS = 115;
/** Connections from one address: fewer than there are ephemeral ports. */
const perSource = 20_000;
/** Handshakes under way at a time: the listener's queue has room for more. */
const window = 200;
const readBytes = 64 * 1024;

type State = 'connecting' | 'handshake' | 'asked' | 'idle';

interface Client {
  readonly fd: number;
  readonly tls: TlsSession | undefined;
  state: State;
  /** Bytes of the answer that have come, and how many it has. */
  got: number;
  size: number;
  askedAt: number;
}

/** How the clients are. */
export interface IdleClientsReport {
  readonly idle: number;
  /** Ended by the other side, or never come about, since they were opened. */
  readonly lost: number;
  /** Of the last `ask`: milliseconds. */
  readonly median: number;
  readonly p99: number;
}

/** The clients of one proxy's port on 127.0.0.1. */
export class IdleClients {
  readonly #sockets = new ReadySockets();
  readonly #memory = fixedMemory(readBytes);
  readonly #clients: (Client | undefined)[] = [];
  readonly #context: number;
  readonly #target: Uint8Array;
  readonly #request: string;
  readonly #firstSource: number;
  #opened = 0;
  #busy = 0;
  #idle = 0;
  #lost = 0;
  #latencies: number[] = [];

  /** `firstSource`: which of the addresses 127.1.x.x is the first that they come from. */
  constructor(port: number, withTls: boolean, firstSource = 0) {
    this.#firstSource = firstSource;
    this.#target = encodeSockaddr(ipAddress('127.0.0.1'), port);
    this.#request = `GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n`;
    this.#context = withTls ? libssl().newContext(libssl().clientMethod()) : 0;
    // SSL_MODE_RELEASE_BUFFERS and partial writes, as the proxy has them.
    if (withTls) libssl().contextControl(this.#context, 33, 0x13, 0);
  }

  /** Opens so many more; settles when each has had an answer or is lost. */
  open(count: number): void {
    let left = count;
    while (left > 0 || this.#busy > 0) {
      for (; left > 0 && this.#busy < window; left--) this.#connect();
      this.#turn(1000);
    }
  }

  /** `count` requests, one after another, each over another of the idle connections. */
  ask(count: number): void {
    this.#latencies = [];
    const idle = this.#clients.filter((client) => client?.state === 'idle') as Client[];
    const step = Math.max(1, Math.floor(idle.length / count));
    for (let i = 0; i < count; i++) {
      const client = idle[(i * step) % idle.length];
      if (client === undefined || client.state !== 'idle') continue;
      this.#idle -= 1;
      this.#busy += 1;
      this.#ask(client);
      while (this.#busy > 0) this.#turn(1000);
    }
  }

  /** Looks for those that have ended. */
  look(): void {
    while (this.#turn(0) > 0);
  }

  report(): IdleClientsReport {
    const sorted = [...this.#latencies].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
    return { idle: this.#idle, lost: this.#lost, median: at(0.5), p99: at(0.99) };
  }

  /** Closes all; `reset`: without a farewell. */
  close(reset: boolean): void {
    for (const client of this.#clients) {
      if (client === undefined) continue;
      if (reset) setResetOnClose(client.fd);
      this.#drop(client);
    }
    this.#idle = 0;
    this.#busy = 0;
  }

  #connect(): void {
    const source = ipAddress(`127.1.0.${1 + this.#firstSource + Math.floor(this.#opened / perSource)}`);
    this.#opened += 1;
    const fd = newTcpSocket(4);
    if (fd < 0) throw new Error(`socket: errno ${lastErrno()}`);
    setSocketOptionInt(fd, constant.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    bind(fd, encodeSockaddr(source, 0));
    this.#memory.bytes.set(this.#target);
    if (connectAt(fd, this.#memory.address, this.#target.length) !== 0 && lastErrno() !== EINPROGRESS)
      throw new Error(`connect: errno ${lastErrno()}`);
    const tls = this.#context === 0 ? undefined : new TlsSession(this.#context, fd, 'client');
    this.#clients[fd] = { fd, tls, state: 'connecting', got: 0, size: 0, askedAt: 0 };
    this.#busy += 1;
    this.#sockets.watch(fd, epollEvent.out);
  }

  #turn(timeoutMs: number): number {
    return this.#sockets.wait(timeoutMs, (fd) => {
      const client = this.#clients[fd];
      if (client !== undefined) this.#step(client);
    });
  }

  #step(client: Client): void {
    if (client.state === 'connecting') {
      if (takeSocketError(client.fd) !== 0) return void this.#lose(client);
      client.state = 'handshake';
      this.#sockets.change(client.fd, epollEvent.in);
    }
    if (client.state === 'handshake') {
      const step = client.tls?.handshake() ?? 'done';
      if (step === 'failed') return void this.#lose(client);
      if (step === 'done') this.#ask(client);
      return;
    }
    this.#read(client);
  }

  #ask(client: Client): void {
    const length = this.#memory.bytes.latin1Write(this.#request, 0);
    client.state = 'asked';
    client.got = 0;
    client.askedAt = performance.now();
    const sent =
      client.tls?.write(this.#memory.address, length) ??
      sendAt(client.fd, this.#memory.address, length, sendFlags);
    if (sent !== length) this.#lose(client);
  }

  #read(client: Client): void {
    const count =
      client.tls?.read(this.#memory.address, readBytes) ??
      receiveAt(client.fd, this.#memory.address, readBytes, receiveFlags);
    // -1: of either, nothing to read (of TLS a ticket).
    if (count === -1 && (client.tls !== undefined || lastErrno() === 11)) return;
    if (count <= 0 || client.state === 'idle') return void this.#lose(client);
    if (client.got === 0) {
      const text = this.#memory.bytes.latin1Slice(0, count);
      const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1];
      if (!text.startsWith('HTTP/1.1 200 ') || length === undefined) return void this.#lose(client);
      client.size = text.indexOf('\r\n\r\n') + 4 + Number(length);
    }
    client.got += count;
    if (client.got < client.size) return;
    client.state = 'idle';
    this.#latencies.push(performance.now() - client.askedAt);
    this.#idle += 1;
    this.#busy -= 1;
  }

  #lose(client: Client): void {
    if (client.state === 'idle') this.#idle -= 1;
    else this.#busy -= 1;
    this.#lost += 1;
    this.#drop(client);
  }

  #drop(client: Client): void {
    this.#clients[client.fd] = undefined;
    client.tls?.free();
    closeSocket(client.fd);
  }
}
