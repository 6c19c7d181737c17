// Approvals: what waits, and one of them with the exact input and the two buttons.
//
// They are decided on a page of their own, where nothing moves under the pointer because something new came in.

import { get, may, me, part, post } from './api.js';
import { code, data, h, keyed } from './dom.js';
import { print } from './json.js';
import { every } from './live.js';
import { address, countdown, document_, facts, findings, heading, notice, pauseButton, pill, problem, reasonCode, runAddress, span, time, word } from './parts.js';

const QUESTIONS = {
  make_the_call: 'May this call be made?',
  go_on_after_unknown_outcome: 'Nobody knows what became of this call. May the run go on?',
};

const approvalAddress = (id) => address(['approvals', id]);

/** Who asks, as far as it is known. */
const asker = (approval) => {
  const actor = approval.asked?.asked_by;
  return actor ? [data(actor.actor_id), h('small', {}, ` (${word(actor.actor_type)})`)] : null;
};

const why = (approval) => [approval.reason_code && reasonCode(approval.reason_code), ' ', data(approval.asked?.findings?.[0]?.reason ?? '')];

/** The list. */
export async function list(view, { query, signal }) {
  const isWaiting = query.get('status') !== 'all';
  const tabs = h(
    'nav',
    { class: 'tabs', 'aria-label': 'Which approvals' },
    h('a', { href: address(['approvals']), 'aria-current': isWaiting && 'page' }, 'Waiting'),
    h('a', { href: address(['approvals'], { status: 'all' }), 'aria-current': !isWaiting && 'page' }, 'All'),
  );
  const live = pauseButton();
  const failed = h('div');
  const cards = h('ul', { class: 'cards' });
  const nothing = h('p', { class: 'empty', hidden: true }, isWaiting ? 'Nothing waits for a decision.' : 'No call has asked for approval yet.');
  const more = h('p');
  view.append(heading('Approvals', live.button), tabs, failed, cards, nothing, more);

  const after = query.get('after');
  const load = async () => {
    const page = await get('approvals', { status: isWaiting ? 'waiting' : 'all', limit: 50, after, workspace: query.get('workspace') }, signal);
    keyed(cards, page.items, (item) => item.approval_id, card);
    nothing.hidden = page.items.length > 0;
    const rest = { status: isWaiting ? null : 'all', after: page.next, workspace: query.get('workspace') };
    more.replaceChildren(...(page.next ? [h('a', { class: 'button', href: address(['approvals'], rest) }, 'More')] : []));
  };
  await every(2_000, signal, load, { isPaused: live.isPaused, failed: (error) => failed.replaceChildren(...(error ? [problem(error)] : [])) });
}

function card(approval) {
  const isWaiting = approval.status === 'waiting';
  const line = print(approval.input).replace(/\s*\n\s*/g, ' ');
  return h(
    'li',
    { class: 'card' },
    h(
      'div',
      { class: 'card-head' },
      h('a', { class: 'card-title', href: approvalAddress(approval.approval_id) }, data(approval.tool_name)),
      isWaiting ? h('span', { class: 'till' }, countdown(approval.expires_at)) : pill(approval.status),
    ),
    h('p', { class: 'clip' }, code(line.slice(0, 300))),
    h('p', {}, why(approval)),
    h('p', { class: 'quiet' }, 'asked by ', asker(approval) ?? 'an unnamed actor', ' · run ', h('a', { href: runAddress(approval) }, code(approval.run_id)), ' in ', data(approval.workspace_id), ' · ', time(approval.requested_at)),
  );
}

/** One approval. */
export async function show(view, { path, signal }) {
  const id = path[0];
  const body = h('div');
  view.append(heading('Approval'), body);
  const approval = await get(`approvals/${part(id)}`, {}, signal);
  const result = h('div', { class: 'result' });
  const isWaiting = approval.status === 'waiting';
  const state = h('span', {}, pill(approval.status));
  body.append(
    h(
      'section',
      { class: 'panel' },
      h('div', { class: 'card-head' }, h('h2', {}, QUESTIONS[approval.question] ?? data(approval.question)), state),
      facts(
        ['Tool', h('strong', {}, data(approval.tool_name))],
        ['Why it is asked', why(approval)],
        ['Asked by', asker(approval)],
        ['On the authority of', approval.principal_id && code(approval.principal_id)],
        ['Hosts', approval.asked?.hosts?.length > 0 && approval.asked.hosts.map((host) => [code(host), ' '])],
        ['Effect', approval.asked?.effect && data(word(approval.asked.effect))],
        ['Sandbox', approval.asked?.sandbox_permissions && data(word(approval.asked.sandbox_permissions))],
        ['Until', isWaiting ? countdown(approval.expires_at) : time(approval.expires_at)],
        ['Needs', approval.approvers > 1 && `${approval.approvers} different people`],
        ['Said yes so far', approval.votes?.length > 0 && h('ul', {}, approval.votes.map((vote) => h('li', {}, data(vote.by), ' ', time(vote.at), vote.reason && [': ', data(vote.reason)])))],
        ['Run', [h('a', { href: runAddress(approval) }, code(approval.run_id)), ' in ', data(approval.workspace_id)]],
        ['Asked at', time(approval.requested_at)],
        ['Decided', approval.decided_at && [time(approval.decided_at), approval.decided_by && [' by ', data(approval.decided_by)], approval.reason && [': ', data(approval.reason)]]],
        ['Used', approval.used_at && time(approval.used_at)],
      ),
      h('h3', {}, 'The exact input'),
      document_(approval.input, 'The exact input'),
      approval.asked?.sandbox_profile && [h('h3', {}, 'The sandbox that it gets'), document_(approval.asked.sandbox_profile, 'The sandbox profile')],
      approval.asked?.findings?.length > 0 && [h('h3', {}, 'What the gate objects to'), findings(approval.asked.findings)],
      facts(['Definition of the tool', code(approval.definition_digest)], ['Input', code(approval.input_digest)], ['Approval', code(approval.approval_id)]),
    ),
    isWaiting && decision(approval, result, state, signal),
    result,
  );
}

/** The form that decides. */
function decision(approval, result, state, signal) {
  if (!may('approver')) {
    return notice('hint', 'Your key ', data(me().name), ' may look at this and not decide it: that needs a key with the role ', code('approver'), '.');
  }
  const reason = h('textarea', { id: 'reason', rows: 2, maxlength: 2_000, dir: 'auto', autocomplete: 'off' });
  const spans = [['', 'for this call only'], ['3600', 'for like calls within an hour'], ['28800', 'for like calls within 8 hours'], ['86400', 'for like calls within a day'], ['604800', 'for like calls within a week']];
  const remember = h('select', { id: 'remember' }, spans.map(([value, text]) => h('option', { value }, text)));
  const yes = h('button', { type: 'button', class: 'good' }, 'Approve');
  const no = h('button', { type: 'button', class: 'bad' }, 'Deny');
  const likeness = approval.asked?.likeness === 'hosts' ? 'the same tool, actor and hosts' : 'the same tool, actor and input';
  const form = h(
    'form',
    { class: 'panel decide', 'aria-label': 'Your decision' },
    h('label', { for: 'reason' }, 'Reason, for the record'),
    reason,
    h('label', { for: 'remember' }, 'An approval holds'),
    remember,
    h('p', { class: 'quiet' }, `Like calls are those of ${likeness}. You decide as `, data(me().name), '.'),
    h('div', { class: 'buttons' }, yes, no),
  );
  form.addEventListener('submit', (event) => event.preventDefault());
  const decide = async (verb) => {
    const body = { reason: reason.value.trim() || null };
    if (verb === 'approve' && remember.value) body.remember_s = Number(remember.value);
    for (const button of [yes, no]) button.disabled = true;
    result.replaceChildren(notice('hint', 'Asking …'));
    try {
      const done = await post(`approvals/${part(approval.approval_id)}/${verb}`, body);
      form.remove();
      // Where several have to say yes, it goes on waiting.
      if (!done.approved || done.run_status !== 'waiting_approval') state.replaceChildren(pill(done.approved ? 'approved' : 'denied'));
      await outcome(result, approval, done, signal);
    } catch (error) {
      if (signal.aborted) return;
      result.replaceChildren(problem(error));
      for (const button of [yes, no]) button.disabled = false;
    }
  };
  yes.addEventListener('click', () => decide('approve'));
  no.addEventListener('click', () => decide('deny'));
  return form;
}

/** What was decided, and what becomes of the run. */
async function outcome(result, approval, done, signal) {
  const state = h('span', {});
  const others = h('p', {});
  const said = notice(
    done.approved ? 'good' : 'bad',
    h('p', {}, h('strong', {}, done.approved ? 'Approved' : 'Denied'), ' by ', data(done.by), '.'),
    h('p', {}, 'The run ', h('a', { href: runAddress(approval) }, code(approval.run_id)), ': ', state),
    others,
  );
  said.setAttribute('tabindex', '-1');
  result.replaceChildren(said, h('p', {}, h('a', { class: 'button', href: address(['approvals']) }, 'To what else waits')));
  said.focus();
  const began = Date.now();
  const ended = new AbortController();
  signal.addEventListener('abort', () => ended.abort());
  const look = async () => {
    const run = await get(`runs/${part(approval.run_id)}`, { workspace: approval.workspace_id }, ended.signal);
    state.replaceChildren(pill(run.status));
    if (run.status === 'waiting_approval' && run.waiting_approval_id === approval.approval_id && approval.approvers > 1) {
      others.textContent = 'Others must say yes, too.';
    }
    if (['succeeded', 'failed', 'cancelled'].includes(run.status)) {
      state.append(` after ${span(Date.now() - began)}`);
      ended.abort();
    }
  };
  await every(700, ended.signal, look, { failed: (error) => error && state.replaceChildren(problem(error)) });
}
