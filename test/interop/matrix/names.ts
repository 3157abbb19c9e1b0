/** Routers of the matrix, in the order of its columns; their numbers are in all addresses. */
export const routerNames = ['frr', 'bird', 'gobgp', 'exabgp'] as const;

/** A router of the matrix. */
export type RouterName = (typeof routerNames)[number];
