// On whose authority calls are made: principals, and the capability tokens that they hold.

import { get, me } from './api.js';
import { code, data, h } from './dom.js';
import { address, heading, pill, problem, since, time, word } from './parts.js';
import { print } from './json.js';

/** Both lists are of one workspace: the key's own, or the one in the address. */
export async function show(view, { query, signal }) {
  const workspace = me().workspace_id ?? query.get('workspace');
  view.append(heading('Capabilities'));
  if (me().workspace_id === null) view.append(chooser(workspace));
  if (!workspace) return;
  const lists = [
    ['capabilities', 'Capability tokens', ['Token', 'State', 'Holder', 'Granted by', 'Covers'], token, 'tokens_after'],
    ['principals', 'Principals', ['Principal', 'State', 'Acts as'], principal, 'principals_after'],
  ];
  for (const [path, title, head, row, cursor] of lists) {
    const panel = h('section', { class: 'result' }, h('h2', {}, title));
    view.append(panel);
    try {
      const page = await get(path, { workspace, limit: 50, after: query.get(cursor) }, signal);
      panel.append(
        page.items.length === 0
          ? h('p', { class: 'empty' }, 'None.')
          : h('table', { class: 'rows' }, h('caption', { class: 'unseen' }, title), h('thead', {}, h('tr', {}, head.map((name) => h('th', { scope: 'col' }, name)))), h('tbody', {}, page.items.map((one) => h('tr', {}, row(one))))),
      );
      if (page.next) panel.append(h('p', {}, h('a', { class: 'button', href: address(['capabilities'], { workspace: query.get('workspace'), [cursor]: page.next }) }, 'More')));
    } catch (error) {
      if (!signal.aborted) panel.append(problem(error));
    }
  }
}

function chooser(workspace) {
  const input = h('input', { id: 'filter-of', value: workspace ?? '', autocomplete: 'off', spellcheck: 'false' });
  const form = h('form', { class: 'choice' }, h('label', { for: input.id }, 'Workspace'), input, h('button', { type: 'submit' }, 'Show'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    location.hash = address(['capabilities'], { workspace: input.value.trim() });
  });
  return form;
}

const cell = (label, ...children) => h('td', { 'data-label': label }, children);

function stateOf(one) {
  if (one.revoked_at) return [pill('revoked'), ' ', time(one.revoked_at), one.revoked_by && [' by ', data(one.revoked_by)], one.revoked_reason && [': ', data(one.revoked_reason)]];
  if (one.valid_until && since(one.valid_until) > 0) return [pill('expired'), ' ', time(one.valid_until)];
  return [pill('active'), one.valid_until && [' until ', time(one.valid_until)]];
}

const token = (one) => [
  cell('token', code(one.token_id), one.parent_token_id && h('small', { class: 'quiet' }, 'from ', code(one.parent_token_id))),
  cell('state', stateOf(one)),
  cell('holder', code(one.issued_to_principal_id)),
  cell('granted by', code(one.granted_by_principal_id), ' ', time(one.granted_at)),
  cell('covers', Object.entries(one.scopes).filter(([, value]) => !Array.isArray(value) || value.length > 0).map(([name, value]) => h('div', {}, h('span', { class: 'quiet' }, word(name), ' '), code(Array.isArray(value) ? value.map((item) => (typeof item === 'string' ? item : print(item))).join(', ') : print(value).replace(/\s*\n\s*/g, ' '))))),
];

const principal = (one) => [
  cell('principal', code(one.principal_id)),
  cell('state', one.quarantined_at ? [pill('quarantined'), ' ', time(one.quarantined_at), one.quarantined_by && [' by ', data(one.quarantined_by)], one.quarantine_reason && [': ', data(one.quarantine_reason)]] : pill('active')),
  cell('acts as', one.principal_type ? [data(one.actor_id ?? ''), h('small', {}, ` (${word(one.principal_type)})`)] : 'not registered'),
];
