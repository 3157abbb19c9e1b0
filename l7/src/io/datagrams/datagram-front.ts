import type { Engine } from '../event-loop/engine.ts';
import { Answers } from './answers.ts';
import { ClientReceiver } from './client-receiver.ts';
import { datagramSocket } from './datagram-socket.ts';
import { noFlowTable, openFlowTable } from './flow-table.ts';
import { Places } from './places.ts';
import { Questions } from './questions.ts';
import type { SessionOwner } from './session.ts';
import { SessionBackends } from './session-backends.ts';
import { Sessions } from './sessions.ts';
import { ToBackends } from './to-backends.ts';

/*
 * UDP listeners of a worker. What clients without a session send comes by the sockets of the worker's place, which
 * outlive it; what clients with a session send by two sockets of the worker's own, as the kernel is told of each
 * session (flow-table.ts). Each session has a socket of its own to its backend; answers leave by a socket that is
 * bound to the VIP and port and never reads.
 *
 *   client-receiver.ts -> questions.ts -> to-backends.ts -> a session's socket (session.ts)
 *                           | begins one: places.ts, sessions.ts, session-backends.ts
 *   a session's socket -> answers.ts -> the listener's socket for replies (place.ts)
 */

/** UDP listeners of a worker. */
export interface DatagramFront {
  /** Looks for the kernel's table of sessions; to be called now and then. */
  look(): void;
  /** After another policy is in force: sessions whose listener, backend or permission has gone end. */
  usePolicy(): void;
  /** Reads bound sockets, which belong to it from now on, until the returned function is called. Throws SyscallError. */
  serve(sockets: readonly number[]): () => void;
  /** No new clients any more; sessions that rest end soon. */
  drain(): void;
  /** Ends all sessions. */
  close(): void;
}

/** Begins without sockets; `bpfDir`: where the maps of the kernel's lookup are pinned. Throws SyscallError. */
export function startDatagramFront(engine: Engine, bpfDir: string | undefined): DatagramFront {
  const shared = new Set<ClientReceiver>();
  let own: readonly ClientReceiver[] = [];
  let isOpen = false;

  const places = new Places(engine, () => [...shared].map(({ fd }) => fd));
  const toBackends = new ToBackends((session) => backends.onUnreachable(session));
  const sessions = new Sessions(engine, places, noFlowTable, (session) => toBackends.flushOf(session));
  const backends = new SessionBackends(engine, sessions, toBackends);
  const answers = new Answers(engine.loop, sessions);
  const owner: SessionOwner = {
    onAnswers: (session, socket) => answers.read(session, socket),
    onUnreachable: (session) => backends.onUnreachable(session),
    onIdle: (session) => sessions.end(session),
    gatherer: answers,
  };
  const questions = new Questions(engine, { places, sessions, backends, toBackends }, owner);

  /** Sockets of the worker's own, once there is something that they are for. */
  function openOwn(): void {
    if (isOpen || bpfDir === undefined) return;
    isOpen = true;
    const { datagramQueueBytes } = engine.limits;
    const pair = [datagramSocket(4, datagramQueueBytes), datagramSocket(6, datagramQueueBytes)] as const;
    own = pair.map((fd) => new ClientReceiver(engine.loop, fd, questions));
    sessions.flows = openFlowTable(bpfDir, pair, engine.log);
  }

  function look(): void {
    const { flows } = sessions;
    if (!flows.look()) return;
    for (const { key, destination } of sessions.all()) flows.claim(key, destination);
  }

  return {
    look,
    usePolicy() {
      if ([...engine.table.values()].some(({ udp }) => udp !== undefined)) {
        openOwn();
        look();
      }
      places.usePolicy((place, isThere) => {
        if (isThere) sessions.endDisallowed(place);
        else sessions.endAllOf(place);
      });
    },
    serve(sockets) {
      const receivers = sockets.map((fd) => new ClientReceiver(engine.loop, fd, questions));
      for (const receiver of receivers) shared.add(receiver);
      return () => {
        for (const receiver of receivers) {
          receiver.takeAll();
          receiver.close();
          shared.delete(receiver);
        }
      };
    },
    drain() {
      for (const receiver of shared) {
        receiver.takeAll();
        receiver.close();
      }
      shared.clear();
      sessions.drain();
    },
    close() {
      sessions.endAll();
      for (const receiver of own) receiver.close();
      places.close();
    },
  };
}
