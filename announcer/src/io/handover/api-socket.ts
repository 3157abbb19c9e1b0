import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { Clock } from '@l4d/kit/clock.ts';
import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { duplicate } from '@l4d/kit/ffi/descriptors.ts';

/** The API on a listening socket that can be handed on. */
export interface ApiSocket {
  /** Its own copy of the listening socket; stays open. */
  readonly descriptor: number;
  serve(): void;
  /**
   * Takes no more connections, which wait in the socket; settles when the requests under way are answered, or after
   * a second. Those at `apart` are not waited for.
   */
  pause(): Promise<void>;
}

/** How long requests under way are waited for. */
const patience = Seconds(1);

/**
 * Serves on a listening socket, which it owns; nothing is served before `serve`. A request at the path `apart` is what
 * asks for a handover.
 */
export function createApiSocket(
  listener: RequestListener,
  descriptor: number,
  clock: Clock,
  apart: string,
): ApiSocket {
  const active = new Set<IncomingMessage>();
  let server: Server | undefined;
  let paused = false;

  return {
    descriptor,
    serve() {
      paused = false;
      server = createServer(listener);
      server.prependListener('request', (request, response) => {
        active.add(request);
        // The next request goes to whoever has the sessions then.
        if (paused || request.url === apart) response.setHeader('connection', 'close');
        response.once('close', () => active.delete(request));
      });
      server.listen({ fd: duplicate(descriptor) });
    },
    async pause() {
      paused = true;
      server?.close();
      server?.closeIdleConnections();
      const end = clock.now() + patience;
      while ([...active].some(({ url }) => url !== apart) && clock.now() < end) {
        await new Promise<void>((resolve) => clock.after(Milliseconds(5), resolve));
      }
      server?.closeIdleConnections();
    },
  };
}
