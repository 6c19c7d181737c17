// The frame: signing in, and which page the address names.

import { get, me, resume, signIn, signOut } from './api.js';
import * as approvals from './approvals.js';
import * as authority from './authority.js';
import { data, h } from './dom.js';
import * as fleet from './fleet.js';
import { every } from './live.js';
import * as overview from './overview.js';
import { address, heading, problem } from './parts.js';
import * as policy from './policy.js';
import * as run from './run.js';
import * as runs from './runs.js';

const main = document.getElementById('main');
const nav = document.getElementById('nav');
const who = document.getElementById('who');

/** By the first word of the address and how many follow: the page. */
const PAGES = {
  'overview/0': overview.show,
  'approvals/0': approvals.list,
  'approvals/1': approvals.show,
  'runs/0': runs.list,
  'runs/2': run.show,
  'policy/0': policy.show,
  'capabilities/0': authority.show,
  'workers/0': fleet.workers,
  'dead-letters/0': fleet.deadLetters,
};
const NAMES = [
  ['overview', 'Overview'],
  ['runs', 'Runs'],
  ['approvals', 'Approvals'],
  ['policy', 'Policy'],
  ['capabilities', 'Capabilities'],
  ['workers', 'Workers'],
  ['dead-letters', 'Dead letters'],
];
const FIRST = '#/overview';

let leaving = new AbortController();

function read() {
  const [path, query = ''] = (location.hash || FIRST).slice(1).split('?');
  const words = path.split('/').filter(Boolean).map((word) => {
    try {
      return decodeURIComponent(word);
    } catch {
      return word;
    }
  });
  return { words, query: new URLSearchParams(query) };
}

async function go() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  if (me() === null) return showSignIn();
  const { words, query } = read();
  const [first = '', ...path] = words;
  mark(first);
  countWaiting().catch(() => {});
  const name = NAMES.find(([id]) => id === first)?.[1];
  document.title = `${[name, ...path].filter(Boolean).join(' ')} · Gatewright`.replace(/^ · /, '');
  const view = h('div', { class: 'view' });
  main.replaceChildren(view);
  const page = PAGES[`${first}/${path.length}`];
  const shown = page ? page(view, { path, query, signal }) : view.append(heading('There is no such page'), h('p', {}, h('a', { href: FIRST }, 'To the approvals')));
  focusHeading();
  try {
    await shown;
  } catch (error) {
    if (!signal.aborted && error.name !== 'AbortError') view.append(problem(error));
  }
}

let isFirst = true;
/** Whoever follows a link by keyboard or hears the page begins at its heading. A filter that was just used keeps the focus. */
function focusHeading() {
  const inFilter = lastFilter && document.getElementById(lastFilter);
  const box = lastState && main.querySelector(`input[data-state="${lastState}"]`);
  if (inFilter || box) (inFilter || box).focus();
  else if (!isFirst) main.querySelector('h1')?.focus({ preventScroll: true });
  if (!inFilter && !box) window.scrollTo(0, 0);
  isFirst = false;
  lastFilter = lastState = null;
}
let lastFilter = null;
let lastState = null;
main.addEventListener('change', (event) => {
  lastFilter = event.target.id?.startsWith('filter-') ? event.target.id : null;
  lastState = event.target.dataset?.state ?? null;
});

function mark(current) {
  nav.replaceChildren(
    ...NAMES.map(([id, name]) => h('a', { href: address([id]), 'aria-current': id === current && 'page', id: `nav-${id}` }, name, id === 'approvals' && h('span', { id: 'waiting', class: 'badge', hidden: waiting === 0 }, waitingText()))),
  );
  nav.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  const out = h('button', { type: 'button' }, 'Sign out');
  out.addEventListener('click', () => {
    signOut();
    go();
  });
  who.replaceChildren(h('span', { class: 'own', title: me().roles.join(', ') }, data(me().name), h('small', {}, ' in ', data(me().workspace_id ?? 'all workspaces'))), out);
}

/** How many approvals wait is shown wherever one is. */
const MOST_COUNTED = 50;
let waiting = 0;
const waitingText = () => (waiting >= MOST_COUNTED ? `${MOST_COUNTED}+` : String(waiting));
async function countWaiting() {
  if (me() === null) return;
  const page = await get('approvals', { limit: MOST_COUNTED });
  waiting = page.items.length;
  const badge = document.getElementById('waiting');
  if (!badge) return;
  badge.hidden = waiting === 0;
  badge.textContent = waitingText();
}

function showSignIn(error) {
  nav.replaceChildren();
  who.replaceChildren();
  document.title = 'Sign in · Gatewright';
  const key = h('input', { id: 'key', type: 'password', required: true, autocomplete: 'off', spellcheck: 'false', placeholder: 'gw_…' });
  const button = h('button', { type: 'submit', class: 'good' }, 'Sign in');
  const said = h('div', {}, error && problem(error));
  const form = h(
    'form',
    { class: 'panel sign-in' },
    h('h1', { tabindex: -1 }, 'Sign in'),
    h('label', { for: 'key' }, 'Your key'),
    key,
    h('p', { class: 'quiet' }, 'It is kept in this tab until the tab is closed. A key is made by ', h('code', {}, 'gatewright key create --role viewer'), '; to decide approvals it needs the role ', h('code', {}, 'approver'), '.'),
    button,
    said,
  );
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await signIn(key.value.trim());
      await go();
    } catch (refusal) {
      said.replaceChildren(wrongKey(refusal));
      button.disabled = false;
      key.select();
    }
  });
  main.replaceChildren(form);
  key.focus();
}

const wrongKey = (refusal) =>
  refusal.status === 401 ? h('div', { class: 'notice bad', role: 'alert' }, 'This key opens nothing: it is wrong, or it was revoked.') : problem(refusal);

document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener('hashchange', go);
window.addEventListener('gatewright:signed-out', () => {
  if (me() === null) return;
  signOut();
  leaving.abort();
  showSignIn();
  main.querySelector('.sign-in').append(h('div', { class: 'notice bad', role: 'alert' }, 'Your key opens nothing any more.'));
});
try {
  await resume();
  await go();
} catch (error) {
  if (error.status !== 401) main.replaceChildren(problem(error));
  else showSignIn();
}
every(5_000, new AbortController().signal, countWaiting);
