import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take longest, the longest first: begun last, one of them would be all that is still running. */
const long = [
  'bpf/schedulers',
  'bpf/nat-table',
  'bpf/properties',
  'bpf/robustness',
  'l4d/src/io/state-store',
  'l7/src/io/event-loop/wire-tables',
  'announcer/src/app/command-line',
  'l7/src/io/event-loop/endings',
  'l7/src/io/event-loop/tls-clients',
  'announcer/src/core/bfd/session.property',
  'test/interop/bgp-security',
  'test/interop/bfd',
  'test/integration/health',
  'test/integration/two-arms',
  'test/integration/ending',
  'test/integration/bad-start',
  'test/integration/fabric-daemons-killed',
  'test/integration/tunnels',
  'test/integration/bad-input',
  'test/integration/bad-machine',
  'test/integration/proxy-workers',
  'test/integration/fabric-silent-host',
  'test/interop/bgp-matrix',
  'test/integration/fabric-detach',
  'test/integration/lab',
  'test/interop/vrrp',
  'test/interop/bgp-continuity',
  'test/interop/bgp',
  'test/interop/sidecar-changes',
  'test/integration/layout-change',
  'test/interop/bgp-unnumbered',
  'test/integration/proxy-datagrams',
  'test/interop/bgp-process',
  'test/integration/bad-brake',
  'test/integration/fabric-cleanup',
  'test/integration/fabric-health',
  'test/integration/fabric-draining',
  'test/integration/nat',
  'test/integration/vxlan',
  'test/interop/bfd-link',
];

/** Begins with the files that take longest, so that all workers are busy to the end. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const index = long.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return index < 0 ? long.length : index;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
