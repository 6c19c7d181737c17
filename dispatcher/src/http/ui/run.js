// One run: what happened in order, then its steps and calls with what the gate said, then the events as they are stored.

import { get, may, part, post } from './api.js';
import { code, data, h, keyed } from './dom.js';
import { tell } from './events.js';
import { parse } from './json.js';
import { follow } from './live.js';
import { address, facts, findings, folded, heading, notice, pauseButton, pill, problem, reasonCode, runAddress, span, time, word } from './parts.js';

const OVER = new Set(['succeeded', 'failed', 'cancelled', 'rejected']);
/** Commits that are fetched at once, and parts. */
const PAGE = 200;

export async function show(view, { path, signal }) {
  const [workspace, id] = path;
  const query = { workspace };
  const base = `runs/${part(id)}`;
  const head = h('div');
  const deeds = h('div', { class: 'buttons' });
  const state = h('span', { class: 'following', role: 'status' });
  const live = pauseButton((isPaused) => (isPaused ? stop() : start()));
  const said = h('div');
  const timeline = h('ol', { class: 'timeline' });
  const raw = h('div', { class: 'raw' });
  const more = h('p');
  const parts = h('div');
  const chain = h('div', { class: 'result' });
  const check = h('button', { type: 'button' }, 'Check the hash chain');
  view.append(
    heading('Run', state, live.button),
    head,
    deeds,
    said,
    h('section', { class: 'panel' }, h('h2', {}, 'Timeline'), timeline, more),
    h('section', { class: 'panel' }, h('h2', {}, 'Steps and calls'), parts),
    h('section', { class: 'panel' }, h('h2', {}, 'Events as they are stored'), h('div', { class: 'buttons' }, check), chain, raw),
  );

  let began = null;
  let last = null;
  let following = null;

  const take = (line) => {
    const { event } = line;
    last = `${line.stream_sequence}.${line.place}`;
    began ??= new Date(line.stored_at).getTime();
    timeline.append(entry(line, began));
    raw.append(folded([code(`#${event.seq}`), ' ', data(event.event_type), ' ', h('small', { class: 'quiet' }, code(String(event.hash).slice(0, 12)))], () => line, `Event ${event.seq}`));
  };

  const refresh = async () => {
    const run = await get(base, query, signal);
    head.replaceChildren(summary(run));
    deeds.replaceChildren(...actions(run, base, query, said));
    if (OVER.has(run.status)) live.button.hidden = true;
    await fillParts(parts, base, query, signal);
    return run;
  };
  // The read tables come after the stream, by a moment; events that come in a rush are answered at most once a second.
  let timers = [];
  let refreshed = 0;
  const refreshSoon = () => {
    for (const timer of timers) clearTimeout(timer);
    const first = Date.now() - refreshed > 1_000 ? 0 : 200;
    timers = [first, 900, 2_500].map((ms) =>
      setTimeout(() => {
        refreshed = Date.now();
        refresh().catch((error) => signal.aborted || said.replaceChildren(problem(error)));
      }, ms),
    );
  };
  signal.addEventListener('abort', () => timers.forEach(clearTimeout));

  const fetchPage = async (after) => {
    const page = await get(`${base}/events`, { ...query, after, limit: PAGE }, signal);
    page.items.forEach(take);
    more.replaceChildren();
    if (!page.next) return start();
    const button = h('button', { type: 'button' }, 'Further events');
    button.addEventListener('click', () => {
      button.disabled = true;
      fetchPage(page.next).catch((error) => said.replaceChildren(problem(error)));
    });
    more.replaceChildren(button);
  };
  const start = () => {
    stop();
    following = new AbortController();
    follow(`${base}/tail`, {
      query,
      after: last,
      signal: following.signal,
      told: (text) => {
        take(parse(text));
        refreshSoon();
      },
      state: (word, error) => {
        const words = { following: 'following', ended: 'ended', lost: 'connection lost, trying again' };
        state.textContent = words[word];
        state.dataset.state = word;
        if (error && error.status !== 0 && error.status < 500) said.replaceChildren(problem(error));
      },
    });
  };
  const stop = () => {
    following?.abort();
    if (following) state.textContent = '';
    following = null;
  };
  signal.addEventListener('abort', stop);

  check.addEventListener('click', async () => {
    chain.replaceChildren(notice('hint', 'Reading the run from its first event on …'));
    try {
      chain.replaceChildren(verdict(await get(`${base}/chain`, query, signal)));
    } catch (error) {
      if (!signal.aborted) chain.replaceChildren(problem(error));
    }
  });

  await refresh();
  await fetchPage(0);
}

function summary(run) {
  const error = run.error;
  return h(
    'section',
    { class: 'panel' },
    h('div', { class: 'card-head' }, h('h2', {}, run.title ? data(run.title) : code(run.run_id)), pill(run.status)),
    error && h('div', { class: 'notice bad' }, h('p', {}, reasonCode(error.reason_code), ' ', data(error.reason)), h('p', { class: 'quiet' }, 'stage ', data(error.stage), error.tool_name && [' · tool ', data(error.tool_name)])),
    facts(
      ['Run', [code(run.run_id), ' in ', data(run.workspace_id)]],
      ['Waits for', run.waiting_approval_id && [h('a', { href: address(['approvals', run.waiting_approval_id]) }, 'an approval'), run.wait_expires_at && [' until ', time(run.wait_expires_at)]]],
      ['Zone and lane', run.zone && [data(word(run.zone)), run.lane && [' · ', data(run.lane)]]],
      ['On the authority of', run.principal_id && [code(run.principal_id), run.capability_token_id && [' by ', code(run.capability_token_id)]]],
      ['Worker', run.worker && data(run.worker)],
      ['Attempt', run.attempt > 1 && run.attempt],
      ['Created', run.created_at && time(run.created_at)],
      ['Ended', run.ended_at && [time(run.ended_at), ` after ${span(new Date(run.ended_at) - new Date(run.created_at))}`]],
      ['Not before', run.not_before && time(run.not_before)],
      ['Deadline', run.deadline && time(run.deadline)],
      ['Again for', run.retry_of && h('a', { href: runAddress({ workspace_id: run.workspace_id, run_id: run.retry_of }) }, code(run.retry_of))],
      ['Asked for the id', run.requested_run_id && data(run.requested_run_id)],
      ['Room', run.room_id && data(run.room_id)],
      ['Thread', run.thread_id && data(run.thread_id)],
      ['Correlation', run.correlation_id && data(run.correlation_id)],
    ),
  );
}

/** What may be done to the run by the one who looks. */
function actions(run, base, query, said) {
  if (!may('submitter')) return [];
  const deed = (label, verb, sure, done) => {
    const button = h('button', { type: 'button' }, label);
    button.addEventListener('click', async () => {
      // Nothing is ended by a single slip.
      if (sure && !button.classList.contains('bad')) {
        button.classList.add('bad');
        button.textContent = sure;
        return;
      }
      button.disabled = true;
      try {
        done(await post(`${base}/${verb}`, {}, query));
      } catch (error) {
        said.replaceChildren(problem(error));
      }
    });
    return button;
  };
  if (!OVER.has(run.status)) {
    return [deed('Cancel', 'cancel', 'Really cancel', () => said.replaceChildren(notice('hint', 'It is cancelled.')))];
  }
  if (run.status === 'failed' || run.status === 'cancelled') {
    return [
      deed('Try again', 'retry', null, (made) =>
        said.replaceChildren(notice('good', 'It begins anew as ', h('a', { href: runAddress({ workspace_id: made.workspace_id, run_id: made.created ?? made.run_id }) }, code(made.created ?? made.run_id)))),
      ),
    ];
  }
  return [];
}

function entry(line, began) {
  const { tone, title, told } = tell(line.event);
  const offset = new Date(line.stored_at).getTime() - began;
  const of = `${line.writer}, message ${line.stream_sequence}`;
  return h(
    'li',
    { 'data-tone': tone, 'data-type': line.event.event_type },
    h('time', { datetime: line.stored_at, title: `${line.stored_at}, ${of}` }, offset < 1 ? 'at once' : `+${span(offset)}`),
    h('span', { class: 'what' }, h('strong', {}, title), ' ', h('span', {}, told)),
  );
}

/** Steps with their calls, and what the gate said of each. */
async function fillParts(place, base, query, signal) {
  const pages = await Promise.all(['steps', 'toolcalls', 'decisions'].map((kind) => get(`${base}/${kind}`, { ...query, limit: PAGE }, signal)));
  const [steps, calls, decisions] = pages;
  const items = steps.items.map((step) => ({
    step,
    calls: calls.items
      .filter((call) => call.step_number === step.number)
      .map((call) => ({ call, decisions: decisions.items.filter((one) => one.tool_call_id === call.tool_call_id) })),
  }));
  if (pages.some((page) => page.next)) items.push({ step: { number: -1 }, calls: [] });
  if (items.length === 0) return place.replaceChildren(h('p', { class: 'empty' }, 'None.'));
  place.querySelector('.empty')?.remove();
  keyed(place, items, ({ step }) => step.number, partOf);
}

function partOf({ step, calls }) {
  if (step.number < 0) return h('p', { class: 'notice hint' }, `The first ${PAGE} are shown. The rest stands in the events.`);
  return h(
    'section',
    { class: 'step' },
    h('h3', {}, `Step ${step.number} `, step.title && data(step.title), ' ', pill(step.status)),
    calls.length === 0 ? h('p', { class: 'empty' }, 'No calls yet.') : calls.map(callOf),
  );
}

function callOf({ call, decisions }) {
  return h(
    'article',
    { class: 'call' },
    h('div', { class: 'card-head' }, h('h4', {}, data(call.tool_name), ' ', h('small', {}, code(`${call.step_number}.${call.call_number}`))), pill(call.status)),
    call.error && h('p', {}, reasonCode(call.error.reason_code), ' ', data(call.error.reason), h('small', { class: 'quiet' }, ' stage ', data(call.error.stage))),
    decisions.map((one) =>
      h(
        'div',
        { class: 'decision' },
        h('p', {}, pill(one.decision), ' ', reasonCode(one.reason_code), ' ', data(one.reason)),
        h('p', { class: 'quiet' }, data(one.category), ' · ', data(one.enforcement_mode), one.blocked ? ' · blocked' : ' · not blocked', one.policy_revision !== null && ` · policy revision ${one.policy_revision}`, one.hosts?.length > 0 && [' · hosts ', one.hosts.map((host) => [code(host), ' '])]),
        (one.findings?.length > 1 || one.findings?.[0]?.reason_code !== one.reason_code) && findings(one.findings),
      ),
    ),
    h('p', { class: 'quiet' }, call.effect && ['effect ', data(call.effect), ' · '], call.executions > 0 ? `executed ${call.executions === 1 ? 'once' : `${call.executions} times`}` : 'not executed', call.duration_us !== null && ` · ${span(call.duration_us / 1_000)}`, call.approval_id && [' · ', h('a', { href: address(['approvals', call.approval_id]) }, 'its approval')]),
    call.input !== null && folded('Input', () => call.input, 'Input'),
    call.output !== null && folded('Output', () => call.output, 'Output'),
  );
}

function verdict(found) {
  if (!found.holds) {
    return h('div', { class: 'notice bad', role: 'alert' }, h('p', {}, h('strong', {}, 'The hash chain does not hold'), ` in message ${found.broken.stream_sequence}: `, data(found.broken.detail)));
  }
  return notice(
    found.complete ? 'good' : 'hint',
    h(
      'p',
      {},
      h('strong', {}, found.complete ? 'The hash chain holds' : 'The hash chain holds as far as it was read'),
      `: ${found.events} events in ${found.commits} messages, up to message ${found.last_sequence}. Last hash `,
      code(found.head ?? 'none'),
    ),
  );
}
