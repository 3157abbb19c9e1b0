/*
 * Limits and timeouts of the client's side, with the values that users of such systems know.
 * Those of the backends' side belong to a listener (policy.ts).
 */

/** From the first byte (or the connection's begin) to the end of a request's head; then 408. */
export const headTimeoutMs = 60_000;
/** An idle connection between two requests is closed. */
export const keepAliveTimeoutMs = 15_000;
/** The last of so many requests of one connection is answered with `Connection: close`. */
export const maxRequestsPerConnection = 100;
/** A tunnel (WebSocket) without a byte in either direction is closed. */
export const tunnelIdleMs = 60_000;
/**
 * An idle upstream connection is closed, before common backends close theirs (Node and Apache
 * after 5 s): a request that meets a closing connection cannot always be sent again.
 */
export const upstreamIdleMs = 4000;
/** Idle upstream connections kept per backend. */
export const maxIdleUpstream = 128;
/** How long an upload is read on, and thrown away, after it was answered early. */
export const lingerMs = 2000;
/** How long existing connections may go on after SIGTERM. */
export const drainMs = 10_000;
/** A client's rate, where the proxy waits for it, is measured over so long: 100 bytes/s at least. */
export const transferWindowMs = 60_000;
/** What a client must send of its body, or take of its answer, in a window in which it is waited for. */
export const minTransferBytes = 6000;
/** 1xx answers that a backend may give to one request. */
export const maxInterimAnswers = 16;
/** Connections that wait to be accepted. */
export const acceptBacklog = 4096;
