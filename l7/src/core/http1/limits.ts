/** Bounds of one message's parts, in bytes and counts; what is above is refused, never cut short. */
export interface MessageLimits {
  /** Start line without its line end; above it a request is answered with 414. */
  readonly maxStartLineBytes: number;
  /** Whole head with all line ends; above it a request is answered with 431. */
  readonly maxHeadBytes: number;
  /** Field lines; above it a request is answered with 431. */
  readonly maxFields: number;
  /** Line of a chunk's size with its extensions, without its line end. */
  readonly maxChunkLineBytes: number;
  /** Extensions of all chunks of a message together. */
  readonly maxChunkExtensionBytes: number;
  /** Trailer section of a message. */
  readonly maxTrailerBytes: number;
}

/** For requests: what common servers take. */
export const requestLimits: MessageLimits = {
  maxStartLineBytes: 8 * 1024,
  maxHeadBytes: 16 * 1024,
  maxFields: 100,
  maxChunkLineBytes: 256,
  maxChunkExtensionBytes: 4096,
  maxTrailerBytes: 8 * 1024,
};

/** For answers of backends, which are trusted with more. */
export const responseLimits: MessageLimits = {
  ...requestLimits,
  maxHeadBytes: 32 * 1024,
  maxFields: 200,
};
