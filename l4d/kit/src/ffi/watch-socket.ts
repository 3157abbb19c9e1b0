import koffi from 'koffi';

/** What to wait for. */
export type Readiness = 'readable' | 'writable';

/**
 * Calls back whenever the socket is ready or has an error pending, until the returned function is
 * called; call that before closing the descriptor. It goes on after an error:
 * libuv stops a poll handle when it meets one (ENOBUFS of netlink, an ICMP error on UDP), so it is
 * started anew. The callback must take the error off the socket (recv, SO_ERROR), else it comes again.
 */
export function watchSocket(fd: number, readiness: Readiness, onReady: () => void): () => void {
  const options = readiness === 'readable' ? { readable: true } : { writable: true };
  let closed = false;
  let handle = koffi.node.poll(fd, options, wake);
  function wake(event: unknown): void {
    if (closed) return;
    onReady();
    // An error arrives as a negative number in place of the events.
    if (closed || typeof event !== 'number') return;
    handle.close();
    handle = koffi.node.poll(fd, options, wake);
  }
  return () => {
    if (closed) return;
    closed = true;
    handle.close();
  };
}
