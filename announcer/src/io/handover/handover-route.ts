import type { Logger } from '@l4d/kit/logger.ts';
import { type HandoverAnswer, handoverSchema } from '../../core/api.ts';
import { describeProblems } from '../../core/api-problem.ts';
import type { Announcer } from '../announcer.ts';
import type { Route } from '../api-routes.ts';
import type { HandoverOutcome } from './giver.ts';

/** What the API asks of the process. */
export interface ProcessControl {
  /** Called once the peers have been told. */
  leave(): void;
  /** Starts a successor and hands the sessions to it; settles when that has ended, one way or the other. */
  upgrade(): Promise<HandoverOutcome>;
  /** Called when the answer to the request for it is out. */
  afterHandover(): void;
  /** While it is true, nothing can be changed here. */
  isFrozen(): boolean;
}

/** A process that hands nothing over. */
export function withoutHandover(leave: () => void): ProcessControl {
  return {
    leave,
    upgrade: async () => ({ handedOver: false, reason: 'this process does not hand its sessions over' }),
    afterHandover: () => {},
    isFrozen: () => false,
  };
}

/** The path of the request for a handover. */
export const handoverPath = '/v1/handover';

/** Answers the request for a handover. */
export function handoverRoute(announcer: Announcer, logger: Logger, control: ProcessControl): Route {
  return async (bytes) => {
    let json: unknown = {};
    try {
      if (bytes.length > 0) json = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      return refused(400, 'The request is not JSON', 'the body must be JSON, or left out');
    }
    const request = handoverSchema.safeParse(json);
    if (!request.success) return { status: 400, body: describeProblems(request.error) };
    const outcome = await control.upgrade();
    if (outcome.handedOver) {
      const { pid, frozenMs } = outcome;
      setImmediate(control.afterHandover);
      return { status: 200, body: { pid, frozenMs } satisfies HandoverAnswer };
    }
    const { reason } = outcome;
    if (request.data.otherwise === 'stay') return refused(409, 'No handover: all goes on as it was', reason);
    logger.warn({ reason }, 'no handover: ending for a restart, peers with continuity keep the routes');
    await announcer.shutdown({ keepRoutes: true });
    setImmediate(control.leave);
    return refused(409, 'No handover: the announcer ends for a restart', reason);
  };
}

function refused(status: number, title: string, detail: string) {
  return { status, body: { title, detail, problems: [] } };
}
