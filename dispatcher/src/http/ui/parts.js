// What the pages are put together from.

import { Problem } from './api.js';
import { code, data, exact, h } from './dom.js';
import { print } from './json.js';
import { visibleText } from './text.js';

const WORDS = {
  waiting_approval: 'waits for approval',
  waiting_actor: 'waits for its agent',
  require_approval: 'needs approval',
  high_stakes: 'high stakes',
};

/** A word of the fleet as people say it. */
export const word = (text) => WORDS[text] ?? String(text).replaceAll('_', ' ');

/** A state, in a colour and in words. */
export const pill = (state) => h('span', { class: 'pill', 'data-state': state }, data(word(state)));

/** A reason code. */
export const reasonCode = (text) => code(text, { class: 'reason' });

const DAY = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

/** A time: the clock alone for today, the day before it for others; in full when pointed at. */
export function time(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return data(text);
  const isToday = DAY.format(at) === DAY.format(new Date());
  const shown = isToday ? CLOCK.format(at) : `${DAY.format(at)}, ${CLOCK.format(at)}`;
  return h('time', { datetime: text, title: visibleText(text) }, shown);
}

/** A length of time in its two largest units. */
export function span(ms) {
  if (ms < 1) return '< 1 ms';
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 10) return `${(ms / 1_000).toFixed(1)} s`;
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** How long ago something was, or how long until it is. */
export const since = (text) => Date.now() - new Date(text).getTime();

/** A time that is to come, counted down while it is in the page. */
export function countdown(text) {
  const shown = h('span', { class: 'countdown' });
  const tick = () => {
    const left = -since(text);
    shown.textContent = left > 0 ? `${span(left)} left` : 'time is over';
    shown.toggleAttribute('data-soon', left < 60_000);
  };
  tick();
  const timer = setInterval(() => (shown.isConnected ? tick() : clearInterval(timer)), 1_000);
  return h('span', {}, shown, ' (', time(text), ')');
}

/** Names and what they stand for; pairs whose value is null or false are left out. */
export const facts = (...pairs) =>
  h(
    'dl',
    { class: 'facts' },
    pairs.filter(([, value]) => value !== null && value !== undefined && value !== false).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
  );

/** What went wrong, with its reason code. */
export function problem(error) {
  const isKnown = error instanceof Problem;
  if (!isKnown) console.error(error);
  return h(
    'div',
    { class: 'notice bad', role: 'alert' },
    h('p', {}, isKnown && error.code && [reasonCode(error.code), ' '], data(isKnown ? error.message : 'this page met an error: ' + error.message)),
    isKnown &&
      error.violations.length > 0 &&
      h('ul', {}, error.violations.map((one) => h('li', {}, code(one.pointer || '/'), ' ', data(one.message ?? print(one))))),
  );
}

export const notice = (kind, ...children) => h('div', { class: `notice ${kind}`, role: 'status' }, ...children);

/** A document, to the letter. */
export const document_ = (value, label) => exact(print(value), label);

/** A document behind a line that opens it; written only when it is opened. */
export function folded(summary, value, label) {
  const details = h('details', { class: 'fold' }, h('summary', {}, summary));
  details.addEventListener('toggle', () => details.children.length === 1 && details.append(document_(value(), label)), { once: true });
  return details;
}

/** What the gate objected to. */
export const findings = (list) =>
  list?.length > 0 &&
  h('ul', { class: 'findings' }, list.map((one) => h('li', {}, pill(one.decision), ' ', reasonCode(one.reason_code), ' ', data(one.reason ?? ''), one.check && [' ', h('small', {}, 'check ', data(one.check))])));

/** The heading of a page, and what stands beside it. */
export const heading = (title, ...beside) => h('div', { class: 'heading' }, h('h1', { tabindex: -1 }, title), ...beside);

/** A button that stops and starts what is live. */
export function pauseButton(changed) {
  let isPaused = false;
  const button = h('button', { type: 'button', class: 'live', 'aria-pressed': 'false' });
  const show = () => {
    button.setAttribute('aria-pressed', String(isPaused));
    button.textContent = isPaused ? 'Paused — go on' : 'Live — pause';
  };
  button.addEventListener('click', () => {
    isPaused = !isPaused;
    show();
    changed?.(isPaused);
  });
  show();
  return { button, isPaused: () => isPaused };
}

/** The address of a page of this dashboard. */
export function address(path, query = {}) {
  const wanted = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== ''));
  const text = wanted.toString();
  return `#/${path.map(encodeURIComponent).join('/')}${text && '?' + text}`;
}

export const runAddress = (run) => address(['runs', run.workspace_id, run.run_id]);
