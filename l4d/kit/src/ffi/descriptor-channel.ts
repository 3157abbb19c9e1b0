/** Messages with open descriptors between processes: AF_UNIX sockets of type SOCK_SEQPACKET and SCM_RIGHTS (unix(7)). */
import koffi from 'koffi';
import { SyscallError } from '../errors.ts';
import { closeFd, connect, constant, socket } from './libc.ts';
import { openUnixListener, unixAddress } from './unix-listener.ts';
import { watchSocket } from './watch-socket.ts';

const libc = koffi.load(null);
const sendmsg = libc.func('long sendmsg(int fd, const void *message, int flags)');
const recvmsg = libc.func('long recvmsg(int fd, void *message, int flags)');
const accept4 = libc.func('int accept4(int fd, void *address, void *length, int flags)');

const SOCK_SEQPACKET = 5;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 8;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const openFlags = constant.SOCK_NONBLOCK | constant.SOCK_CLOEXEC;

/** Most descriptors of one message (SCM_MAX_FD is 253). */
export const maxDescriptors = 250;

/** Longest message, in octets; what is longer goes by a memory file. */
export const maxChannelMessageBytes = 16 * 1024;

/** struct msghdr 56 bytes, then struct iovec 16, control, payload. All 64-bit Linux agree on these. */
const layout = { iovec: 56, control: 72, payload: 72 + 16 + 4 * maxDescriptors } as const;
const size = layout.payload + maxChannelMessageBytes;

/** All calls are over when they return: one buffer does for all channels, as long as the process lives. */
let buffer: ReturnType<typeof allocate> | undefined;

function allocate() {
  const address = koffi.alloc('uint8_t', size) as bigint;
  const memory = new Uint8Array(koffi.view(address, size));
  return { address, memory, view: new DataView(memory.buffer) };
}

/** What a channel tells. */
export interface ChannelHandlers {
  /** The receiver owns the descriptors. */
  onMessage(text: string, descriptors: readonly number[]): void;
  /** The other side has closed it or has died, after all of its messages. */
  onClosed(): void;
}

/** One end of a connection that carries messages and descriptors, in order and whole. */
export interface DescriptorChannel {
  /** Sends copies of the descriptors with a text; both stay open here. Throws SyscallError (EPIPE: it is closed). */
  send(text: string, descriptors?: readonly number[]): void;
  /** Tells nothing any more. */
  close(): void;
}

/** Connects to a path. Throws SyscallError (ENOENT, ECONNREFUSED: nobody listens). */
export function connectChannel(path: string, handlers: ChannelHandlers): DescriptorChannel {
  const fd = socket(constant.AF_UNIX, SOCK_SEQPACKET | openFlags);
  try {
    connect(fd, unixAddress(path));
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  return createChannel(fd, handlers);
}

/**
 * Listens at a path that only the owner may use, in the place of what is there. The returned function ends it and
 * leaves the path. Throws SyscallError.
 */
export function listenForChannels(
  path: string,
  onChannel: (open: (handlers: ChannelHandlers) => DescriptorChannel) => void,
): () => void {
  const fd = openUnixListener(path, 'seqpacket');
  const unwatch = watchSocket(fd, 'readable', () => {
    const accepted = accept4(fd, null, null, openFlags);
    if (accepted >= 0) onChannel((handlers) => createChannel(accepted, handlers));
  });
  return () => {
    unwatch();
    closeFd(fd);
  };
}

function createChannel(fd: number, handlers: ChannelHandlers): DescriptorChannel {
  buffer ??= allocate();
  const { address, memory, view } = buffer;
  let open = true;

  function prepare(payloadBytes: number, controlBytes: number): void {
    memory.fill(0, 0, layout.control);
    view.setBigUint64(16, address + BigInt(layout.iovec), true);
    view.setBigUint64(24, 1n, true);
    if (controlBytes > 0) {
      view.setBigUint64(32, address + BigInt(layout.control), true);
      view.setBigUint64(40, BigInt(controlBytes), true);
    }
    view.setBigUint64(layout.iovec, address + BigInt(layout.payload), true);
    view.setBigUint64(layout.iovec + 8, BigInt(payloadBytes), true);
  }

  function received(): number[] {
    const end = layout.control + Number(view.getBigUint64(40, true));
    const descriptors: number[] = [];
    for (let at: number = layout.control; at + 16 <= end; ) {
      const length = Number(view.getBigUint64(at, true));
      if (length < 16) break;
      if (view.getInt32(at + 8, true) === constant.SOL_SOCKET && view.getInt32(at + 12, true) === SCM_RIGHTS)
        for (let i = at + 16; i + 4 <= at + length; i += 4) descriptors.push(view.getInt32(i, true));
      at += (length + 7) & ~7;
    }
    return descriptors;
  }

  function receive(): void {
    while (open) {
      prepare(maxChannelMessageBytes, layout.payload - layout.control);
      const count = Number(recvmsg(fd, address, constant.MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
      if (count < 0 && koffi.errno() === constant.EAGAIN) return;
      const descriptors = count < 0 ? [] : received();
      const cut = (view.getInt32(48, true) & (MSG_CTRUNC | constant.MSG_TRUNC)) !== 0;
      // A message that is not whole (no descriptors left in this process) ends it, as its end does.
      if (count <= 0 || cut) {
        for (const descriptor of descriptors) closeFd(descriptor);
        channel.close();
        handlers.onClosed();
        return;
      }
      const text = new TextDecoder().decode(memory.slice(layout.payload, layout.payload + count));
      handlers.onMessage(text, descriptors);
    }
  }

  const unwatch = watchSocket(fd, 'readable', receive);
  const channel: DescriptorChannel = {
    send(text, descriptors = []) {
      const bytes = new TextEncoder().encode(text);
      if (bytes.length > maxChannelMessageBytes || descriptors.length > maxDescriptors) {
        throw new RangeError(`a message of ${bytes.length} octets and ${descriptors.length} descriptors`);
      }
      const controlBytes = descriptors.length === 0 ? 0 : 16 + 4 * descriptors.length;
      prepare(bytes.length, controlBytes);
      memory.set(bytes, layout.payload);
      view.setBigUint64(layout.control, BigInt(controlBytes), true);
      view.setInt32(layout.control + 8, constant.SOL_SOCKET, true);
      view.setInt32(layout.control + 12, SCM_RIGHTS, true);
      for (const [index, descriptor] of descriptors.entries()) {
        view.setInt32(layout.control + 16 + 4 * index, descriptor, true);
      }
      if (!open || Number(sendmsg(fd, address, MSG_NOSIGNAL)) < 0) {
        throw new SyscallError('sendmsg', open ? koffi.errno() : constant.EBADF);
      }
    },
    close() {
      if (!open) return;
      open = false;
      unwatch();
      closeFd(fd);
    },
  };
  return channel;
}
