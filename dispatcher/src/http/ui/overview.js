// The fleet at a glance.

import { get, me } from './api.js';
import { bars, ranking } from './chart.js';
import { code, data, h } from './dom.js';
import { every } from './live.js';
import { address, heading, pauseButton, problem, reasonCode, runAddress, since, span, time, word } from './parts.js';
import { STATES } from './runs.js';

const RANGES = [[1, 'hour'], [6, '6 hours'], [24, 'day'], [168, 'week']];
/** Behind this, what is shown is not the present. */
const STALE_S = 30;

export async function show(view, { query, signal }) {
  const hours = RANGES.some(([hours]) => String(hours) === query.get('hours')) ? Number(query.get('hours')) : 1;
  const workspace = query.get('workspace');
  const live = pauseButton();
  const failed = h('div');
  const body = h('div', { class: 'overview' });
  const ranges = h('nav', { class: 'tabs', 'aria-label': 'How far back' }, RANGES.map(([number, name]) => h('a', { href: address(['overview'], { hours: number, workspace }), 'aria-current': number === hours && 'page' }, `Last ${name}`)));
  view.append(heading('Overview', live.button), ranges, failed, body);
  const load = async () => {
    const [found, workers] = await Promise.all([get('overview', { hours, workspace }, signal), get('workers', {}, signal)]);
    const stops = () => [...body.querySelectorAll('a, summary, .scroll')];
    const focused = stops().indexOf(document.activeElement);
    const open = body.querySelector('details[open]') !== null;
    body.replaceChildren(...panels(found, workers.items, workspace, view.clientWidth - 40));
    if (open) body.querySelector('details').open = true;
    // The keyboard's place stays.
    if (focused >= 0) stops()[focused]?.focus({ preventScroll: true });
  };
  // The chart is drawn for the room that there is.
  window.addEventListener('resize', () => load().catch(() => {}), { signal });
  await every(5_000, signal, load, { isPaused: live.isPaused, failed: (error) => failed.replaceChildren(...(error ? [problem(error)] : [])) });
}

const figure = (name, value, note, tone, href) =>
  h('div', { class: 'figure', 'data-tone': tone }, h('span', { class: 'quiet' }, name), h(href ? 'a' : 'span', { class: 'value', href }, value), note && h('span', { class: 'quiet' }, note));

function panels(found, workers, workspace, width) {
  const { waiting, lag, oldest_queued: queued, denials, created, states } = found;
  const oldest = queued[0];
  const slots = workers.reduce((sum, one) => sum + one.slots, 0);
  const busy = workers.reduce((sum, one) => sum + one.busy, 0);
  const isStale = !lag || lag.seconds > STALE_S || lag.silent_seconds > STALE_S;
  const times = new Map();
  for (const { at_s, status, runs } of created.buckets) {
    if (!times.has(at_s)) times.set(at_s, { at_s, counts: {} });
    times.get(at_s).counts[status] = runs;
  }
  return [
    h(
      'section',
      { class: 'figures', 'aria-label': 'Now' },
      figure('Approvals waiting', `${waiting.approvals}${waiting.or_more ? '+' : ''}`, waiting.next_expires_at && ['the first lapses in ', span(Math.max(0, -since(waiting.next_expires_at)))], waiting.approvals > 0 && 'wait', address(['approvals'], { workspace })),
      figure('Oldest queued', oldest ? span(Math.max(0, since(oldest.created_at))) : 'none', oldest && h('a', { href: runAddress(oldest) }, oldest.title ? data(oldest.title) : code(oldest.run_id)), oldest && since(oldest.created_at) > 60_000 && 'bad'),
      figure('Tables behind the stream', lag ? (lag.messages > 0 ? span(lag.seconds * 1_000) : 'up to date') : 'unknown', lag ? (lag.silent_seconds > STALE_S ? `no projector was heard of for ${span(lag.silent_seconds * 1_000)}` : lag.messages > 0 && `${lag.messages} messages`) : 'nothing was projected yet', isStale && 'bad'),
      figure('Worker slots in use', `${busy} of ${slots}`, `${workers.length} workers`, slots === 0 && 'bad', address(['workers'])),
    ),
    h(
      'section',
      { class: 'panel' },
      h('h2', {}, 'Runs by when they were created and where they stand'),
      created.cut && h('p', { class: 'quiet' }, `There were so many that only the latest ${created.most} are counted: those since `, time(created.since), '.'),
      bars({ title: 'Runs over time', bars: [...times.values()], series: STATES, fromS: new Date(created.since) / 1_000, toS: new Date(created.until) / 1_000, bucketS: created.bucket_s, width: Math.max(width, 240) }),
    ),
    h(
      'section',
      { class: 'panel' },
      h('h2', {}, 'Refused by the gate'),
      denials.items.length === 0
        ? h('p', { class: 'empty' }, 'Nothing.')
        : ranking('Refusals by reason', denials.items.map((one) => ({ label: [reasonCode(one.reason_code), h('small', {}, ` ${word(one.decision)}${one.blocked ? '' : ', not blocked (shadow mode)'}`)], count: one.decisions, tone: one.decision === 'deny' ? 'failed' : 'waiting_approval' }))),
      denials.cut && h('p', { class: 'quiet' }, `Of the latest ${denials.most}.`),
    ),
    h(
      'section',
      { class: 'panel' },
      h('h2', {}, 'All runs by state'),
      ranking('Runs by state', states.filter((one) => one.runs > 0).map((one) => ({ label: h('a', { href: address(['runs'], { status: one.status, workspace: me().workspace_id === null ? workspace : null }) }, word(one.status)), count: one.runs, shown: one.or_more && `${one.runs}+`, tone: one.status }))),
      states.some((one) => one.or_more) && h('p', { class: 'quiet' }, 'Nothing is counted beyond 10,000.'),
    ),
  ];
}
