import type { VrrpView } from '@l4d/l4d/core/status.ts';
import type { Command } from 'commander';
import { askVrrp } from './bgp-source.ts';
import type { Ctl } from './ctl.ts';
import { renderTable } from './table.ts';

/** `l4ctl vrrp`. */
export function addVrrpCommand(program: Command, ctl: Ctl): void {
  program
    .command('vrrp')
    .description("virtual routers of the hosts' own subnet: who is Active, since when and why")
    .action(async () => {
      const answer = await askVrrp(ctl);
      ctl.print(answer, () => renderVrrp(answer, Date.now()));
    });
}

/** The table, and what was dropped and why. `now` is Unix milliseconds. */
export function renderVrrp(view: VrrpView, now: number): string {
  const head = view.state === 'running' ? '' : `vrrp is ${view.state}: ${view.reason}\n`;
  const warning = view.state === 'running' && view.reason !== undefined ? `${view.reason}\n` : '';
  if (view.routers.length === 0) return `${head}${warning}`;
  const columns = [
    { head: 'GROUP' },
    { head: 'VRID', right: true },
    { head: 'FAMILY' },
    { head: 'STATE' },
    { head: 'PRIORITY', right: true },
    { head: 'ACTIVE ROUTER' },
    { head: 'SINCE', right: true },
    { head: 'CHANGES', right: true },
    { head: 'ADDRESSES', right: true },
    { head: 'DROPPED' },
  ];
  const rows = view.routers.map((router) => [
    router.group,
    String(router.vrid),
    router.family,
    router.state,
    String(router.priority),
    router.activeRouter === undefined
      ? '-'
      : `${router.activeRouter} (${router.owning ? 'this host' : router.activePriority})`,
    formatAge(now - router.since),
    String(router.transitions),
    String(router.addresses),
    formatDrops(router.dropped),
  ]);
  const notes = view.routers.flatMap(({ group, vrid, family, reason, problem, addressConflict }) => [
    ...(reason === undefined ? [] : [`${group} ${vrid} ${family}: ${reason}`]),
    ...(problem === undefined ? [] : [`${group} ${vrid} ${family}: takes no part: ${problem}`]),
    ...(addressConflict === undefined ? [] : [`${group} ${vrid} ${family}: ${addressConflict}`]),
  ]);
  const stray = formatDrops(view.dropped);
  const foot = stray === '-' ? '' : `advertisements of no group here: ${stray}\n`;
  return `${head}${warning}${renderTable(columns, rows)}${notes.map((note) => `  ${note}\n`).join('')}${foot}`;
}

function formatDrops(dropped: Readonly<Record<string, number>>): string {
  const parts = Object.entries(dropped).map(([reason, count]) => `${reason} ${count}`);
  return parts.length === 0 ? '-' : parts.join(', ');
}

function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}
