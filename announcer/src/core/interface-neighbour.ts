/** Which of those who advertise themselves on an interface is the peer, and when we speak up ourselves. */
import { type Duration, Milliseconds } from '@l4d/kit/duration.ts';
import { type IpAddress, sameIpAddress } from '@l4d/kit/ip-address.ts';

/** Somebody who was heard on an interface. */
export interface Heard {
  readonly address: IpAddress;
  readonly mac?: string;
  /** Milliseconds of the clock. */
  readonly at: number;
}

/** Who is on an interface, in bounded memory however many there are. */
export interface Neighbourhood {
  /** The peer. */
  readonly peer?: Heard;
  /** Who else was heard last; an unnumbered link should have two ends. */
  readonly other?: Heard;
}

/** A peer that has no session and is silent for so long gives its place to whoever is heard. */
export const silenceMs = 15_000;

/**
 * The neighbourhood after an advertisement. The peer stays while its session is up: nobody else on the link can take
 * its place. Without a session it goes to a router with the same link-layer address (it has another link-local one
 * now) at once, and to any other after silenceMs without a word.
 */
export function hear(neighbourhood: Neighbourhood, heard: Heard, isEstablished: boolean): Neighbourhood {
  const { peer } = neighbourhood;
  if (peer === undefined || sameIpAddress(peer.address, heard.address))
    return { ...neighbourhood, peer: heard };
  const isSameRouter = heard.mac !== undefined && heard.mac === peer.mac;
  if (!isEstablished && (isSameRouter || heard.at - peer.at >= silenceMs)) return { peer: heard };
  return { ...neighbourhood, other: heard };
}

/** MIN_DELAY_BETWEEN_RAS (RFC 4861 section 10): between two multicast advertisements. */
export const minAdvertisementGapMs = 3000;

/** MaxRtrAdvInterval; MinRtrAdvInterval is a third of it (RFC 4861 section 6.2.1). */
const maxAdvertisementIntervalMs = 10_000;

/** MAX_RA_DELAY_TIME (RFC 4861 section 10). */
const maxAnswerDelayMs = 500;

/** RFC 4861 section 10: MAX_RTR_SOLICITATION_DELAY, RTR_SOLICITATION_INTERVAL, MAX_RTR_SOLICITATIONS. */
const maxSolicitationDelayMs = 1000;
const solicitationIntervalMs = 4000;
const maxSolicitations = 3;

/** A router that came up unheard is asked for again so often. */
const slowSolicitationIntervalMs = 60_000;

/** Pause until the next unasked advertisement, when `sent` of them went before. `jitter` is in [0, 1). */
export function advertisementPause(sent: number, jitter: number): Duration {
  if (sent < 3) return Milliseconds(minAdvertisementGapMs);
  const least = maxAdvertisementIntervalMs / 3;
  return Milliseconds(least + jitter * (maxAdvertisementIntervalMs - least));
}

/** Pause until a solicitation is answered; the last advertisement was `sinceLastMs` ago. */
export function answerPause(sinceLastMs: number, jitter: number): Duration {
  return Milliseconds(Math.max(jitter * maxAnswerDelayMs, minAdvertisementGapMs - sinceLastMs));
}

/** Pause until the next solicitation, when `sent` of them have found nobody. */
export function solicitationPause(sent: number, jitter: number): Duration {
  if (sent === 0) return Milliseconds(jitter * maxSolicitationDelayMs);
  return Milliseconds(sent < maxSolicitations ? solicitationIntervalMs : slowSolicitationIntervalMs);
}
