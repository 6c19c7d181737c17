// Workers, and messages that could not be worked on.

import { get, may, part, post } from './api.js';
import { code, data, h, keyed } from './dom.js';
import { every } from './live.js';
import { address, facts, folded, heading, notice, pauseButton, pill, problem, reasonCode, runAddress, span, time, word } from './parts.js';

export async function workers(view, { signal }) {
  const live = pauseButton();
  const failed = h('div');
  const rows = h('tbody');
  const nothing = h('p', { class: 'empty', hidden: true }, 'No worker has signed on.');
  view.append(
    heading('Workers', live.button),
    failed,
    h('table', { class: 'rows' }, h('caption', { class: 'unseen' }, 'Workers'), h('thead', {}, h('tr', {}, ['Worker', 'State', 'Slots', 'Zones', 'Seen', 'Version'].map((name) => h('th', { scope: 'col' }, name)))), rows),
    nothing,
  );
  const load = async () => {
    const { items } = await get('workers', {}, signal);
    keyed(rows, items, (one) => one.worker_id, workerRow);
    nothing.hidden = items.length > 0;
  };
  await every(2_000, signal, load, { isPaused: live.isPaused, failed: (error) => failed.replaceChildren(...(error ? [problem(error)] : [])) });
}

function workerRow(one) {
  const cell = (label, ...children) => h('td', { 'data-label': label }, children);
  return h(
    'tr',
    {},
    cell('worker', h('strong', {}, data(one.worker_id)), h('small', { class: 'quiet' }, 'since ', time(one.started_at))),
    cell('state', pill(one.state)),
    cell('slots', h('meter', { min: 0, max: one.slots, value: one.busy, 'aria-label': 'slots in use' }), ` ${one.busy} of ${one.slots}`),
    cell('zones', one.zones.map(word).join(', ')),
    cell('seen', `${span(one.age_ms)} ago`),
    cell('version', data(one.version)),
  );
}

export async function deadLetters(view, { query, signal }) {
  const cards = h('div', { class: 'cards' });
  const workspace = query.get('workspace');
  view.append(heading('Dead letters'), h('p', { class: 'quiet' }, 'Messages that could not be worked on, kept.'), cards);
  const page = await get('dead-letters', { limit: 30, workspace, after: query.get('after') }, signal);
  cards.append(...(page.items.length === 0 ? [h('p', { class: 'empty' }, 'There are none.')] : page.items.map(letter)));
  if (page.next) view.append(h('p', {}, h('a', { class: 'button', href: address(['dead-letters'], { workspace, after: page.next }) }, 'Older')));
}

function letter(one) {
  const result = h('div');
  const again = h('button', { type: 'button' }, 'Send it again');
  again.addEventListener('click', async () => {
    again.disabled = true;
    try {
      const done = await post(`dead-letters/${part(String(one.sequence))}/replay`, {});
      result.replaceChildren(notice('good', 'It was accepted: ', h('a', { href: runAddress(done) }, code(done.run_id))));
    } catch (error) {
      result.replaceChildren(problem(error));
      again.disabled = false;
    }
  });
  return h(
    'article',
    { class: 'card' },
    h('div', { class: 'card-head' }, h('h2', {}, reasonCode(one.reason_code), ' ', h('small', {}, `letter ${one.sequence}`)), time(one.died_at)),
    h('p', {}, data(one.reason)),
    one.violations?.length > 0 && h('ul', {}, one.violations.map((fault) => h('li', {}, code(fault.pointer || '/'), ' ', data(fault.message)))),
    facts(['Workspace', data(one.workspace_id)], ['Run', one.run_id && h('a', { href: runAddress(one) }, code(one.run_id))], ['Sent to', code(one.subject)], ['Put aside by', data(one.put_aside_by)]),
    folded('The message', () => one.message_json ?? one.message_text, 'The message'),
    may('admin') && h('div', { class: 'buttons' }, again),
    result,
  );
}
