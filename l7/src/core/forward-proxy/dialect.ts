import type { Destination } from './destinations.ts';

/** What a forward proxy makes of what its client has said so far. Lengths are in bytes of the input. */
export type Reading =
  /** More is needed. */
  | { readonly kind: 'partial' }
  /** So much is read and to be answered; the next of the input is to be read then. */
  | { readonly kind: 'answer'; readonly text: string; readonly length: number }
  /** The client asks for this; what follows is for the destination. */
  | { readonly kind: 'destination'; readonly destination: Destination; readonly length: number }
  /** Nothing comes of it: the last words to this client. */
  | { readonly kind: 'refused'; readonly text: string };

/** Why a destination is not reached. */
export type Refusal = 'denied' | 'unresolved' | 'unreachable' | 'timeout';

/**
 * How clients of a forward proxy ask. Texts are latin1: a character is a byte. A dialect is made for one
 * connection.
 */
export interface Dialect {
  read(input: string): Reading;
  /** The destination is there. */
  accepted(): string;
  refused(why: Refusal): string;
}

/** Input of a client before it is connected is no longer than this. */
export const maxDialectBytes = 16 * 1024;
