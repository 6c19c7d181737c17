// Runs: a list that is filtered by the address, and live while its first page is looked at.

import { get, me } from './api.js';
import { code, data, h, keyed } from './dom.js';
import { every } from './live.js';
import { address, heading, pauseButton, pill, problem, runAddress, since, span, time, word } from './parts.js';

export const STATES = ['queued', 'running', 'waiting_approval', 'waiting_actor', 'succeeded', 'failed', 'cancelled', 'rejected'];
const ZONES = ['sandbox', 'supervised', 'high_stakes'];
const LANES = ['interactive', 'background'];
const PAGE = 50;

export async function list(view, { query, signal }) {
  const wanted = {
    status: query.get('status'),
    zone: query.get('zone'),
    lane: query.get('lane'),
    workspace: query.get('workspace'),
    after: query.get('after'),
  };
  const live = pauseButton();
  const failed = h('div');
  const rows = h('tbody');
  const nothing = h('p', { class: 'empty', hidden: true }, 'There are no such runs.');
  const pages = h('p', { class: 'pages' });
  view.append(
    heading('Runs', !wanted.after && live.button),
    filters(wanted),
    failed,
    h(
      'table',
      { class: 'rows' },
      h('caption', { class: 'unseen' }, 'Runs, the youngest first'),
      h('thead', {}, h('tr', {}, ['Run', 'State', 'Zone, lane', 'Calls', 'Created', 'Took'].map((name) => h('th', { scope: 'col' }, name)))),
      rows,
    ),
    nothing,
    pages,
  );
  const load = async () => {
    const page = await get('runs', { ...wanted, limit: PAGE }, signal);
    keyed(rows, page.items, (run) => `${run.workspace_id}/${run.run_id}`, row);
    nothing.hidden = page.items.length > 0;
    if (page.items.length === 0 && page.next) nothing.textContent = 'None among the runs that were looked through. Older ones may be.';
    pages.replaceChildren(
      ...(wanted.after ? [h('a', { class: 'button', href: address(['runs'], { ...wanted, after: null }) }, 'Youngest')] : []),
      ...(page.next ? [h('a', { class: 'button', href: address(['runs'], { ...wanted, after: page.next }) }, 'Older')] : []),
    );
  };
  const options = { isPaused: () => live.isPaused() || wanted.after !== null, failed: (error) => failed.replaceChildren(...(error ? [problem(error)] : [])) };
  await every(1_500, signal, load, options);
}

/** The filters; whatever is changed goes into the address at once. */
function filters(wanted) {
  const chosen = new Set((wanted.status ?? '').split(',').filter(Boolean));
  const go = (change) => {
    location.hash = address(['runs'], { ...wanted, after: null, ...change });
  };
  const state = (name) => {
    const box = h('input', { type: 'checkbox', checked: chosen.has(name), value: name, 'data-state': name });
    box.addEventListener('change', () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      go({ status: STATES.filter((one) => chosen.has(one)).join(',') });
    });
    return h('label', { class: 'chip' }, box, word(name));
  };
  const choice = (name, label, words) => {
    const select = h('select', { id: `filter-${name}` }, h('option', { value: '' }, 'all'), words.map((one) => h('option', { value: one, selected: wanted[name] === one }, word(one))));
    select.addEventListener('change', () => go({ [name]: select.value }));
    return h('span', { class: 'choice' }, h('label', { for: select.id }, label), select);
  };
  const workspace = () => {
    const input = h('input', { id: 'filter-workspace', value: wanted.workspace ?? '', placeholder: 'all', autocomplete: 'off', spellcheck: 'false' });
    input.addEventListener('change', () => go({ workspace: input.value.trim() }));
    return h('span', { class: 'choice' }, h('label', { for: input.id }, 'Workspace'), input);
  };
  const form = h(
    'form',
    { class: 'filters', 'aria-label': 'Which runs' },
    h('fieldset', {}, h('legend', {}, 'State'), STATES.map(state)),
    h('div', { class: 'choices' }, choice('zone', 'Zone', ZONES), choice('lane', 'Lane', LANES), me().workspace_id === null && workspace()),
  );
  form.addEventListener('submit', (event) => event.preventDefault());
  return form;
}

function row(run) {
  const calls = [
    [run.succeeded_calls, 'succeeded', '✓'],
    [run.failed_calls, 'failed', '✗'],
    [run.denied_calls, 'denied', '⊘'],
  ].filter(([number]) => number > 0);
  const cell = (label, ...children) => h('td', { 'data-label': label.toLowerCase() }, children);
  const error = run.error?.reason_code;
  return h(
    'tr',
    {},
    cell(
      'Run',
      h('a', { class: 'row-title clamp', href: runAddress(run) }, run.title ? data(run.title) : code(run.run_id)),
      h('small', { class: 'quiet' }, run.title && [code(run.run_id), ' '], me().workspace_id === null && ['in ', data(run.workspace_id)]),
    ),
    cell('State', pill(run.status), error && [' ', code(error, { class: 'reason' })]),
    cell('Zone, lane', data(word(run.zone)), run.lane && [' · ', data(run.lane)]),
    cell('Calls', calls.length === 0 ? '–' : calls.map(([number, name, sign]) => h('span', { class: 'count', 'data-state': name, title: `${number} ${name}` }, `${number} ${sign} `, h('span', { class: 'unseen' }, name)))),
    cell('Created', time(run.created_at)),
    cell('Took', run.ended_at ? span(new Date(run.ended_at) - new Date(run.created_at)) : age(run)),
  );
}

function age(run) {
  const shown = h('span', { class: 'quiet' });
  const tick = () => {
    shown.textContent = `${span(Math.max(since(run.created_at), 1_000))} …`;
  };
  tick();
  const timer = setInterval(() => (shown.isConnected ? tick() : clearInterval(timer)), 1_000);
  return shown;
}
