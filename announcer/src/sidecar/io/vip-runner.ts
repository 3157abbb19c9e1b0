/**
 * Performs what service-plan.ts says for one VIP of a service, one thing at a time, until nothing is left to do.
 */
import type { Clock, Timer } from '@l4d/kit/clock.ts';
import { Milliseconds } from '@l4d/kit/duration.ts';
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, hostPrefix } from '@l4d/kit/ip-prefix.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { type PatchInput, patchSchema } from '../../core/api.ts';
import type { Announcer } from '../../io/announcer.ts';
import { describeCondition } from '../core/condition.ts';
import type { Attributes, Service } from '../core/config.ts';
import { type Action, type Condition, planService } from '../core/service-plan.ts';
import type { LoopbackAddresses } from './loopback-addresses.ts';

/** A VIP that is being announced and withdrawn. */
export interface VipRunner {
  readonly address: IpAddress;
  readonly prefix: string;
  /** The configuration of its service changes, or it now belongs to another one. */
  configure(service: Service, gracefulShutdown: number): void;
  /** How its service is from now on. */
  become(condition: Condition): void;
  /** What lo is seen to have now, whoever has changed it. */
  seeAddress(isThere: boolean): void;
  /** What is announced of it now. */
  announced(): PrefixInput | undefined;
  condition(): Condition;
  addressThere(): boolean;
  addressError(): string | undefined;
  /** Whether it waits for its first verdict, or for its address so that it can be announced. */
  isPending(): boolean;
  /** Settles when nothing is left to do for its condition. */
  settled(): Promise<void>;
  /** Does nothing more. */
  close(): void;
}

/** A prefix as the announcer takes it. */
export type PrefixInput = NonNullable<PatchInput['add']>[number];

/** What a runner needs. */
export interface VipSurroundings {
  readonly announcer: Announcer;
  readonly addresses: LoopbackAddresses;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told when it has come to rest for now. */
  readonly onRest: () => void;
}

/** How often it is asked whether a withdraw is on the wire; only a router that takes nothing makes it wait. */
const wirePoll = Milliseconds(20);
/** Time before an address that could not be set is tried again. */
const addressRetry = Milliseconds(1000);

/** Starts to care for a VIP, of whose service nothing is known yet. `addressThere`: it is on lo already. */
export function createVipRunner(
  address: IpAddress,
  first: Service,
  gracefulShutdown: number,
  addressThere: boolean,
  surroundings: VipSurroundings,
): VipRunner {
  const { announcer, addresses, clock, logger, onRest } = surroundings;
  const prefix = formatIpPrefix(hostPrefix(address));
  let service = first;
  let graceful = gracefulShutdown;
  let condition: Condition = { kind: 'unknown' };
  let there = addressThere;
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
      const addressRefused = addressError !== undefined;
      const actual = { addressThere: there, addressRefused, announced, onWire, withdrawnSince };
      const wishes = {
        ...service,
        ownsAddress: service.loopback !== 'none',
        keepsAddress: service.loopback === 'keep',
        gracefulShutdown: graceful,
      };
      const plan = planService(wishes, condition, actual, clock.now());
      if (plan.action === undefined) {
        if (plan.settled) for (const resolve of waiting.splice(0)) resolve();
        const askAgainAt = onWire ? plan.askAgainAt : clock.now() + wirePoll;
        if (askAgainAt !== undefined) {
          timer = clock.after(Milliseconds(Math.max(1, Math.ceil(askAgainAt - clock.now()))), proceed);
        }
        onRest();
        return;
      }
      if (!perform(plan.action)) return;
    }
  }

  /** A withdraw is over when no router with a session is left that was told of the prefix. */
  function look(): void {
    if (onWire || announced !== undefined || announcer.isTold(prefix)) return;
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
        change({ add: [{ prefix, ...announced } as PrefixInput], remove: [] });
        logger.info({ service: service.name, prefix, attributes: announced }, 'announced');
        return true;
      case 'withdraw':
        announced = undefined;
        onWire = false;
        change({ add: [], remove: [prefix] });
        logger.warn(
          { service: service.name, prefix, reason: addressError ?? describeCondition(condition) },
          'withdrawn',
        );
        return true;
      case 'add-address':
      case 'remove-address':
        moveAddress(action.kind === 'add-address');
        return false;
    }
  }

  function change(patch: PatchInput): void {
    const result = announcer.patch(patchSchema.parse(patch));
    if ('conflict' in result)
      logger.error({ service: service.name, conflict: result.conflict }, 'not announced');
  }

  function moveAddress(wanted: boolean): void {
    busy = true;
    const go = () => {
      busy = false;
      proceed();
    };
    (wanted ? addresses.add(address) : addresses.remove(address)).then(
      () => {
        there = wanted;
        addressError = undefined;
        go();
      },
      (error: Error) => {
        if (addressError !== error.message) {
          logger.error(
            { service: service.name, prefix, error: error.message },
            'the address on lo cannot be changed',
          );
        }
        const isNew = addressError === undefined;
        addressError = error.message;
        // What is announced must not wait for another try.
        if (isNew && wanted && announced !== undefined) go();
        else clock.after(addressRetry, go);
      },
    );
  }

  return {
    address,
    prefix,
    configure(next, nextGraceful) {
      service = next;
      graceful = nextGraceful;
      proceed();
    },
    become(next) {
      condition = next;
      proceed();
    },
    seeAddress(isThere) {
      if (busy || closed || isThere === there) return;
      there = isThere;
      if (!isThere && service.loopback !== 'none') {
        logger.warn({ service: service.name, prefix }, 'somebody has taken the address off lo');
      }
      proceed();
    },
    announced: () => (announced === undefined ? undefined : ({ prefix, ...announced } as PrefixInput)),
    condition: () => condition,
    addressThere: () => there,
    addressError: () => addressError,
    isPending: () => condition.kind === 'unknown' || (busy && announced === undefined && !there),
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
