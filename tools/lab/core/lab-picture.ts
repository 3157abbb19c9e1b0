import { hostEnvironment, hostFolder, type LabNames } from './lab-names.ts';
import { hostsOf, type Topology } from './topology.ts';

/** A text picture of the lab: who hangs where, with addresses. */
export function labPicture(topology: Topology): string {
  const lines: string[] = [`${topology.name}: ${topology.description}`, ''];
  for (const client of hostsOf(topology, 'client')) {
    lines.push(`  ${client.name}  ${client.ipv4}  ${client.ipv6}`);
    for (const [index, link] of client.links.entries()) {
      const last = index === client.links.length - 1;
      lines.push(`   ${last ? '└' : '├'}─ ${link.ipv4} ── ${link.routerIpv4}  ${link.router}`);
    }
  }
  const rows = (['router', 'l4d', 'backend'] as const).flatMap((role) => hostsOf(topology, role));
  lines.push('', `  fabric  ${topology.fabric.ipv4}  ${topology.fabric.ipv6}`);
  for (const [index, host] of rows.entries()) {
    const branch = index === rows.length - 1 ? '└' : '├';
    const as = host.role === 'backend' ? '' : `  AS ${host.as}`;
    const what = { router: 'router (FRR)', l4d: 'l4d host', backend: 'backend (nginx)' }[host.role];
    lines.push(
      `   ${branch}─ ${host.name.padEnd(8)}${host.ipv4.padEnd(14)}${host.ipv6.padEnd(14)}${what}${as}`,
    );
  }
  lines.push('', '  VIPs on every backend');
  for (const vip of topology.vips) {
    lines.push(`   · ${vip.name.padEnd(8)}${vip.ipv4.padEnd(16)}${vip.ipv6}  port ${vip.port}`);
  }
  return `${lines.join('\n')}\n`;
}

/** How to use a lab that is up. */
export function labUsage(topology: Topology, names: LabNames): string {
  const option = names.id === 'l4d' ? '' : ` --id ${names.id}`;
  const client = hostsOf(topology, 'client')[0]?.name ?? '';
  const lines = [`Look inside:      npm run lab -- status${option}`];
  const backend = hostsOf(topology, 'backend')[0];
  if (backend !== undefined) {
    lines.push(`Ask a backend:    npm run lab -- shell${option} ${client} curl -s http://${backend.ipv4}/`);
  }
  const host = hostsOf(topology, 'l4d')[0];
  if (host !== undefined) {
    const run = hostEnvironment(names, host.name).L4D_RUN_DIR;
    lines.push(
      `On an l4d host:   npm run lab -- shell${option} ${host.name}     (l4d and l4ctl are in the PATH)`,
      `  its first configuration: ${hostFolder(names, host.name)}/l4d.yaml, with VIPs: l4d-with-vips.yaml`,
      `  its sockets: ${run}`,
      `  start it there, on each l4d host: l4d run -c ${hostFolder(names, host.name)}/l4d-with-vips.yaml`,
    );
  }
  const router = hostsOf(topology, 'router')[0];
  if (router !== undefined) {
    const show = 'vtysh -c "show ip route bgp"';
    lines.push(`On a router:      npm run lab -- shell${option} ${router.name} ${show}`);
  }
  lines.push(`Take it down:     npm run lab -- down${option}`);
  return `${lines.join('\n')}\n`;
}
