import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longest, the longest first: begun last, one of them would be all that is still running. */
const long = [
  'integration/bad-machine',
  'interop/bgp-security',
  'interop/bfd',
  'integration/bad-input',
  'integration/ending',
  'integration/bad-start',
  'integration/fabric-daemons-killed',
  'integration/health',
  'integration/two-arms',
  'integration/fabric-silent-host',
  'interop/bgp-matrix',
  'integration/fabric-detach',
  'integration/bad-brake',
  'interop/vrrp',
  'interop/sidecar-changes',
  'interop/bgp-unnumbered',
  'interop/bgp-process',
  'integration/fabric-health',
  'integration/fabric-draining',
  'integration/lab',
  'interop/bgp',
  'interop/bfd-link',
  'integration/fabric-cleanup',
  'interop/bgp-continuity',
];

/** Begins with the files that take longest, so that all workers are busy to the end. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const index = long.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
      return index < 0 ? long.length : index;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
