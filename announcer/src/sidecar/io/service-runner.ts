/**
 * Performs what service-plan.ts says for one service, one thing at a time, until nothing is left to do.
 */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import { formatIpPrefix, hostPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { type PatchInput, patchSchema } from '../../core/api.ts';
import type { Announcer } from '../../io/announcer.ts';
import { describeCondition } from '../core/condition.ts';
import type { Attributes, Service } from '../core/config.ts';
import { type Action, type Condition, planService } from '../core/service-plan.ts';
import type { LoopbackAddresses } from './loopback-addresses.ts';

/** A service that is being announced and withdrawn. */
export interface ServiceRunner {
  /** Its configuration changes; the VIPs are the same. */
  configure(service: Service, gracefulShutdown: number): void;
  /** How it is from now on. */
  become(condition: Condition): void;
  /** What is announced of it now. */
  announced(): readonly PrefixInput[];
  readonly prefixes: readonly string[];
  condition(): Condition;
  addressesThere(): boolean;
  addressError(): string | undefined;
  /** Settles when nothing is left to do for its condition. */
  settled(): Promise<void>;
  /** Does nothing more. */
  close(): void;
}

/** A prefix as the announcer takes it. */
export type PrefixInput = NonNullable<PatchInput['add']>[number];

/** What a runner needs. */
export interface ServiceSurroundings {
  readonly announcer: Announcer;
  readonly addresses: LoopbackAddresses;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** How often it is asked whether a withdraw is on the wire; only a router that takes nothing makes it wait. */
const wirePoll = Milliseconds(20);
/** Time before addresses that could not be set are tried again. */
const addressRetry = Milliseconds(1000);

/** Starts to care for a service, of which nothing is known yet. `addressesThere`: they are on lo already. */
export function createServiceRunner(
  first: Service,
  gracefulShutdown: number,
  addressesThere: boolean,
  surroundings: ServiceSurroundings,
): ServiceRunner {
  const { announcer, addresses, clock, logger } = surroundings;
  const prefixes = first.vips.map((vip) => formatIpPrefix(hostPrefix(vip)));
  let service = first;
  let graceful = gracefulShutdown;
  let condition: Condition = { kind: 'unknown' };
  let there = addressesThere;
  let addressError: string | undefined;
  let announced: Attributes | undefined;
  let onWire = true;
  let withdrawnSince: number | undefined = clock.now();
  let busy = false;
  let closed = false;
  let timer: Timer | undefined;
  let waiting: (() => void)[] = [];

  function proceed(): void {
    if (busy || closed) return;
    timer?.cancel();
    timer = undefined;
    for (;;) {
      look();
      const actual = { addressesThere: there, announced, onWire, withdrawnSince };
      const ownsAddresses = service.loopback === 'add';
      const wishes = { ...service, ownsAddresses, gracefulShutdown: graceful };
      const plan = planService(wishes, condition, actual, clock.now());
      if (plan.action === undefined) {
        if (plan.settled) for (const resolve of waiting.splice(0)) resolve();
        const askAgainAt = onWire ? plan.askAgainAt : clock.now() + wirePoll;
        if (askAgainAt === undefined) return;
        timer = clock.after(Milliseconds(Math.max(1, Math.ceil(askAgainAt - clock.now()))), proceed);
        return;
      }
      if (!perform(plan.action)) return;
    }
  }

  /** A withdraw is over when no router with a session is left that was told of the prefix. */
  function look(): void {
    if (onWire || announced !== undefined) return;
    if (prefixes.some((prefix) => announcer.isTold(prefix))) return;
    onWire = true;
    withdrawnSince = clock.now();
  }

  /** False: it goes on when the kernel has answered. */
  function perform(action: Action): boolean {
    switch (action.kind) {
      case 'announce':
        announced = action.attributes;
        // What is not sent yet may still be superseded: only of withdraws it matters.
        onWire = true;
        withdrawnSince = undefined;
        change({ add: announcedPrefixes(), remove: [] });
        logger.info({ service: service.name, prefixes, attributes: announced }, 'announced');
        return true;
      case 'withdraw':
        announced = undefined;
        onWire = false;
        change({ add: [], remove: prefixes });
        logger.warn({ service: service.name, prefixes, reason: describeCondition(condition) }, 'withdrawn');
        return true;
      case 'add-addresses':
      case 'remove-addresses':
        moveAddresses(action.kind === 'add-addresses');
        return false;
    }
  }

  function change(patch: PatchInput): void {
    const result = announcer.patch(patchSchema.parse(patch));
    if ('conflict' in result)
      logger.error({ service: service.name, conflict: result.conflict }, 'not announced');
  }

  function announcedPrefixes(): PrefixInput[] {
    if (announced === undefined) return [];
    const attributes = announced;
    return prefixes.map((prefix) => ({ prefix, ...attributes }) as PrefixInput);
  }

  function moveAddresses(wanted: boolean): void {
    busy = true;
    const moving = wanted ? addresses.add(service.vips) : addresses.remove(service.vips);
    moving.then(
      () => {
        there = wanted;
        addressError = undefined;
        busy = false;
        proceed();
      },
      (error: Error) => {
        if (addressError !== error.message) {
          logger.error(
            { service: service.name, error: error.message },
            'the addresses on lo cannot be changed',
          );
        }
        addressError = error.message;
        clock.after(addressRetry, () => {
          busy = false;
          proceed();
        });
      },
    );
  }

  return {
    prefixes,
    configure(next, nextGraceful) {
      service = next;
      graceful = nextGraceful;
      proceed();
    },
    become(next) {
      condition = next;
      proceed();
    },
    announced: announcedPrefixes,
    condition: () => condition,
    addressesThere: () => there,
    addressError: () => addressError,
    settled() {
      return new Promise((resolve) => {
        waiting = [...waiting, resolve];
        proceed();
      });
    },
    close() {
      closed = true;
      timer?.cancel();
    },
  };
}
