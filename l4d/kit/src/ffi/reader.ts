import koffi from 'koffi';

const libc = koffi.load(null);
const poll = libc.func('int poll(void *descriptors, unsigned long count, int timeout)');

/** POLLERR and POLLHUP: what poll tells of a pipe and of a socket whose other end is closed, also unasked. */
const otherEndClosed = 0x8 | 0x10;

/** Whether anybody can still read what is written to a descriptor; true for a file. */
export function hasReader(fd: number): boolean {
  const pollfd = new Uint8Array(8);
  const view = new DataView(pollfd.buffer);
  view.setInt32(0, fd, true);
  poll(pollfd, 1, 0);
  return (view.getInt16(6, true) & otherEndClosed) === 0;
}
