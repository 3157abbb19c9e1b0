/** What l4d asks of a kernel, since when kernels have it, and what becomes of l4d without it. */

/** One feature. */
export interface KernelFeature {
  readonly name: string;
  /** First version of Linux that has it. */
  readonly since: string;
  /** What is lost or slower without it; absent where nothing works without it. */
  readonly without?: string;
}

/** All of them, in the order in which a start meets them. */
export const kernelFeatures = {
  bpfFs: { name: 'bpffs, where maps and links outlive the daemon', since: '4.4' },
  lruHash: { name: 'LRU hash maps, for flows', since: '4.10' },
  mappedArrays: { name: 'arrays in shared memory, for Maglev tables', since: '5.5' },
  batchReads: { name: 'reading an array in one call, at adoption', since: '5.6' },
  bufferLength: { name: 'XDP for frames of several buffers (xdp.frags)', since: '5.18' },
  programs: { name: 'the verifier takes the program of the packet path', since: '6.1' },
  checkSteering: {
    name: 'tc programs at egress (sch_ingress, cls_bpf), for checks by way of the backend',
    since: '4.5',
  },
  lookup: { name: 'sk_lookup, for l7 VIPs', since: '5.9' },
  sourceReturn: {
    name: "tc programs that look for sockets, for clients' own addresses towards backends",
    since: '5.2',
    without: 'l7 VIPs cannot have source: client',
  },
  tunnelRelay: {
    name: 'tunnels relayed by the kernel (sockmap, stream verdict), for `relay: kernel`',
    since: '6.18',
    without: 'the proxy relays those tunnels itself, and counts them as refused',
  },
  links: { name: 'XDP links whose program is swapped while packets flow', since: '5.9' },
  jiffies: {
    name: 'the time in ticks without a call',
    since: '5.6',
    without: 'each packet asks a clock for it: about 15 ns more',
  },
  compiler: {
    name: 'programs compiled to machine code (net.core.bpf_jit_enable)',
    since: '3.0',
    without: 'each packet is interpreted, several times slower: sysctl -w net.core.bpf_jit_enable=1',
  },
  nativeXdp: {
    name: "XDP in the interface's driver",
    since: 'by driver',
    without: 'generic mode: the kernel makes a buffer of each frame first, several times slower',
  },
} as const satisfies Readonly<Record<string, KernelFeature>>;

/** Name of a feature in kernelFeatures. */
export type KernelFeatureKey = keyof typeof kernelFeatures;

/** What a probe found: whether the kernel has it, and what it said when not. */
export interface ProbeResult {
  readonly feature: KernelFeatureKey;
  readonly present: boolean;
  readonly detail?: string;
}

/** A feature that nothing works without. */
export function isNeeded(key: KernelFeatureKey): boolean {
  return !('without' in kernelFeatures[key]);
}

/** Those that are needed and missing. */
export function missingNeeded(results: readonly ProbeResult[]): readonly ProbeResult[] {
  return results.filter(({ feature, present }) => !present && isNeeded(feature));
}

/** A line a feature, and for what is missing another one that says what follows. */
export function describeProbe(results: readonly ProbeResult[]): string[] {
  return results.flatMap(({ feature, present, detail }) => {
    const { name, since, without }: KernelFeature = kernelFeatures[feature];
    if (present) return [`yes  ${name}`];
    const version = since === 'by driver' ? since : `Linux ${since} and later`;
    const said = detail === undefined ? '' : ` (${detail})`;
    return [`NO   ${name}: ${version}${said}`, `       ${without ?? 'l4d does not run without it'}`];
  });
}
